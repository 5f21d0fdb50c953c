// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dress QEMU's nvme controllers, which are real SR-IOV devices behind a real (emulated) IOMMU, as QAT.
 *
 * Each controller is taken off its bus, the bus gets configuration accessors that show other identity registers, and
 * the bus is scanned again. VFs, IOMMU groups, function level reset and VFIO are left to QEMU and the kernel.
 *
 * For test guests only; there is no way back but a reboot.
 */
#include <linux/module.h>
#include <linux/pci.h>

static ushort device = 0x4940, vf_device = 0x4941;
module_param(device, ushort, 0444);
MODULE_PARM_DESC(device, "device ID to show for PFs");
module_param(vf_device, ushort, 0444);
MODULE_PARM_DESC(vf_device, "device ID to show for VFs");
MODULE_DESCRIPTION("QAT identity for QEMU's SR-IOV devices");
MODULE_LICENSE("GPL");

#define NVME_VENDOR 0x1b36
#define NVME_DEVICE 0x0010
#define QAT_CLASS 0x0b4000
#define MAX_PFS 16

struct dressed {
	struct pci_bus *bus;
	struct pci_ops *plain;
	int vf_did;		/* offset of the dword whose upper half is the VF device ID */
};
static struct dressed pfs[MAX_PFS];
static int npfs;

static const struct dressed *find(const struct pci_bus *bus)
{
	int i;

	for (i = 0; pfs[i].bus != bus; i++)
		;
	return &pfs[i];
}

static int dressed_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *val)
{
	const struct dressed *pf = find(bus);
	int dword = where & ~3, shift = (where & 3) * 8, ret;
	u32 v;

	ret = pf->plain->read(bus, devfn, dword, 4, &v);
	if (ret)
		return ret;
	if (v == ~0u)		/* nothing there */
		;
	else if (dword == PCI_VENDOR_ID)
		v = device << 16 | PCI_VENDOR_ID_INTEL;
	else if (dword == PCI_CLASS_REVISION)
		v = QAT_CLASS << 8 | 0x40;
	else if (dword == PCI_SUBSYSTEM_VENDOR_ID)
		v = PCI_VENDOR_ID_INTEL;
	else if (devfn == 0 && dword == pf->vf_did)
		v = vf_device << 16 | (v & 0xffff);
	v >>= shift;
	*val = size == 4 ? v : v & ((1u << size * 8) - 1);
	return PCIBIOS_SUCCESSFUL;
}

static int dressed_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val)
{
	return find(bus)->plain->write(bus, devfn, where, size, val);
}

static struct pci_ops dressed_ops = { .read = dressed_read, .write = dressed_write };

static void dress(struct pci_dev *pdev)
{
	struct dressed *pf = &pfs[npfs];
	struct pci_bus *bus = pdev->bus;

	pf->vf_did = pci_find_ext_capability(pdev, PCI_EXT_CAP_ID_SRIOV) + (PCI_SRIOV_VF_DID & ~3);
	pf->plain = bus->ops;
	pf->bus = bus;
	npfs++;
	pci_stop_and_remove_bus_device_locked(pdev);
	pci_bus_set_ops(bus, &dressed_ops);
	pci_lock_rescan_remove();
	pci_rescan_bus(bus);
	pci_unlock_rescan_remove();
}

static int __init qatskin_init(void)
{
	struct pci_dev *pdev;
	int bus;

	/* By bus number, so that the driver meets the PFs in the order of their addresses. */
	for (bus = 0; bus < 256 && npfs < MAX_PFS; bus++) {
		pdev = pci_get_domain_bus_and_slot(0, bus, 0);
		if (!pdev)
			continue;
		if (pdev->vendor == NVME_VENDOR && pdev->device == NVME_DEVICE && pci_sriov_get_totalvfs(pdev))
			dress(pdev);
		pci_dev_put(pdev);
	}
	return npfs ? 0 : -ENODEV;
}
module_init(qatskin_init);
