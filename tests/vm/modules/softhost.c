// SPDX-License-Identifier: GPL-2.0-only
/*
 * PCI host bridges made of software, for layouts QEMU cannot make: up to 8 SR-IOV PFs, one a bus, in any PCI domain
 * and on any NUMA node, behind an IOMMU driver that translates nothing but gives each function a group of its own.
 *
 * The functions are configuration space only: no BARs, no interrupts, no DMA. The IOMMU isolates nothing.
 * Written for the IOMMU interface of 6.12. For test guests only; there is no way back but a reboot.
 */
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/slab.h>

static int pfs = 2, domain;
static ushort device = 0x4940, vf_device = 0x4941;
static bool sockets;
module_param(pfs, int, 0444);
MODULE_PARM_DESC(pfs, "how many PFs, 1 to 8");
module_param(domain, int, 0444);
MODULE_PARM_DESC(domain, "their PCI domain");
module_param(device, ushort, 0444);
module_param(vf_device, ushort, 0444);
module_param(sockets, bool, 0444);
MODULE_PARM_DESC(sockets, "put the first half on NUMA node 0, the rest on node 1");
MODULE_DESCRIPTION("SR-IOV functions made of software");
MODULE_LICENSE("GPL");

#define VFS 16
#define EXPRESS 0x40	/* where the PCI Express capability stands */
#define SRIOV 0x100	/* where the SR-IOV capability stands */

/* The buses on which a two-socket Sapphire Rapids shows its PFs. */
static const u8 buses[] = { 0x6b, 0x70, 0x75, 0x7a, 0xe8, 0xed, 0xf2, 0xf7 };

struct host {
	struct pci_sysdata sysdata;
	struct resource bus;
	u8 config[1 + VFS][PCI_CFG_SPACE_EXP_SIZE];	/* by devfn: the PF, then its VFs */
};

static void put16(u8 *config, int at, u16 value)
{
	*(__le16 *)(config + at) = cpu_to_le16(value);
}

static void put32(u8 *config, int at, u32 value)
{
	*(__le32 *)(config + at) = cpu_to_le32(value);
}

static void describe(u8 *config, bool is_vf)
{
	/* A VF's own IDs read as ones: PCIe Base 9.3.4.1.1. */
	put16(config, PCI_VENDOR_ID, is_vf ? 0xffff : PCI_VENDOR_ID_INTEL);
	put16(config, PCI_DEVICE_ID, is_vf ? 0xffff : device);
	put16(config, PCI_STATUS, PCI_STATUS_CAP_LIST);
	put32(config, PCI_CLASS_REVISION, 0x0b400040);
	put16(config, PCI_SUBSYSTEM_VENDOR_ID, PCI_VENDOR_ID_INTEL);
	config[PCI_CAPABILITY_LIST] = EXPRESS;
	config[EXPRESS] = PCI_CAP_ID_EXP;
	put16(config, EXPRESS + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_RC_END << 4);
	put32(config, EXPRESS + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_FLR | PCI_EXP_DEVCAP_RBER);
	if (is_vf)
		return;
	put32(config, SRIOV, PCI_EXT_CAP_ID_SRIOV | 1 << 16);
	put16(config, SRIOV + PCI_SRIOV_INITIAL_VF, VFS);
	put16(config, SRIOV + PCI_SRIOV_TOTAL_VF, VFS);
	put16(config, SRIOV + PCI_SRIOV_VF_OFFSET, 1);
	put16(config, SRIOV + PCI_SRIOV_VF_STRIDE, 1);
	put16(config, SRIOV + PCI_SRIOV_VF_DID, vf_device);
	put32(config, SRIOV + PCI_SRIOV_SUP_PGSIZE, 0x553);
	put32(config, SRIOV + PCI_SRIOV_SYS_PGSIZE, 1);
}

/* The configuration space of a function; NULL where there is none now. */
static u8 *config_of(struct pci_bus *bus, unsigned int devfn)
{
	struct host *host = container_of((struct pci_sysdata *)bus->sysdata, struct host, sysdata);
	u8 *pf = host->config[0];

	if (devfn == 0)
		return pf;
	if (devfn > pf[SRIOV + PCI_SRIOV_NUM_VF] || devfn > VFS || !(pf[SRIOV + PCI_SRIOV_CTRL] & PCI_SRIOV_CTRL_VFE))
		return NULL;
	return host->config[devfn];
}

static int config_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *val)
{
	u8 *config = config_of(bus, devfn);
	int i;

	*val = ~0u;
	if (!config)
		return PCIBIOS_DEVICE_NOT_FOUND;
	for (*val = 0, i = 0; i < size; i++)
		*val |= (u32)config[where + i] << i * 8;
	return PCIBIOS_SUCCESSFUL;
}

/* The bits of a byte that can be written; what resets itself (FLR) or is read only is left out. */
static u8 writable(bool is_vf, int at)
{
	switch (at) {
	case PCI_COMMAND:
		return PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	case PCI_COMMAND + 1:
		return (PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE) >> 8;
	case PCI_INTERRUPT_LINE:
	case EXPRESS + PCI_EXP_DEVCTL:
		return 0xff;
	case EXPRESS + PCI_EXP_DEVCTL + 1:
		return 0xff & ~(PCI_EXP_DEVCTL_BCR_FLR >> 8);
	case SRIOV + PCI_SRIOV_CTRL:
		return is_vf ? 0 : 0x1f;
	case SRIOV + PCI_SRIOV_NUM_VF:
	case SRIOV + PCI_SRIOV_SYS_PGSIZE ... SRIOV + PCI_SRIOV_SYS_PGSIZE + 3:
		return is_vf ? 0 : 0xff;
	}
	return 0;
}

static int config_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val)
{
	u8 *config = config_of(bus, devfn);
	int i;

	if (!config)
		return PCIBIOS_DEVICE_NOT_FOUND;
	for (i = 0; i < size; i++, val >>= 8) {
		u8 mask = writable(devfn != 0, where + i);

		config[where + i] = (config[where + i] & ~mask) | (val & mask);
	}
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops config_ops = { .read = config_read, .write = config_write };

/* ---- an IOMMU for these functions alone ---- */

static struct platform_device *parent;
static struct iommu_device iommu;

static bool is_ours(struct device *dev)
{
	return dev_is_pci(dev) && to_pci_dev(dev)->bus->ops == &config_ops;
}

static bool iommu_capable_of(struct device *dev, enum iommu_cap cap)
{
	return cap == IOMMU_CAP_CACHE_COHERENCY || cap == IOMMU_CAP_DEFERRED_FLUSH;
}

static struct iommu_device *iommu_probe(struct device *dev)
{
	return is_ours(dev) ? &iommu : ERR_PTR(-ENODEV);
}

static int iommu_default_type(struct device *dev)
{
	return IOMMU_DOMAIN_IDENTITY;
}

static int iommu_attach(struct iommu_domain *d, struct device *dev)
{
	return 0;
}

static int iommu_map_nothing(struct iommu_domain *d, unsigned long iova, phys_addr_t phys, size_t size, size_t count,
			     int prot, gfp_t gfp, size_t *mapped)
{
	*mapped = size * count;
	return 0;
}

static size_t iommu_unmap_nothing(struct iommu_domain *d, unsigned long iova, size_t size, size_t count,
				  struct iommu_iotlb_gather *gather)
{
	return size * count;
}

static phys_addr_t iommu_phys(struct iommu_domain *d, dma_addr_t iova)
{
	return 0;
}

static void iommu_free(struct iommu_domain *d)
{
	kfree(d);
}

static const struct iommu_domain_ops paging_ops = {
	.attach_dev = iommu_attach,
	.map_pages = iommu_map_nothing,
	.unmap_pages = iommu_unmap_nothing,
	.iova_to_phys = iommu_phys,
	.free = iommu_free,
};
static const struct iommu_domain_ops static_ops = { .attach_dev = iommu_attach };
static struct iommu_domain identity = { .type = IOMMU_DOMAIN_IDENTITY, .ops = &static_ops };
static struct iommu_domain blocked = { .type = IOMMU_DOMAIN_BLOCKED, .ops = &static_ops };

static struct iommu_domain *iommu_alloc(struct device *dev)
{
	struct iommu_domain *d = kzalloc(sizeof(*d), GFP_KERNEL);

	if (d) {
		d->geometry.aperture_end = ~0ull;
		d->geometry.force_aperture = true;
		d->pgsize_bitmap = SZ_4K;
	}
	return d;
}

static const struct iommu_ops iommu_operations = {
	.owner = THIS_MODULE,
	.capable = iommu_capable_of,
	.probe_device = iommu_probe,
	.device_group = generic_device_group,
	.def_domain_type = iommu_default_type,
	.domain_alloc_paging = iommu_alloc,
	.identity_domain = &identity,
	.blocked_domain = &blocked,
	.default_domain_ops = &paging_ops,
	.pgsize_bitmap = SZ_4K,
};

/* With a second IOMMU in the machine the core goes by the firmware node; give it ours before it looks. */
static int on_device_added(struct notifier_block *nb, unsigned long action, void *data)
{
	if (action == BUS_NOTIFY_ADD_DEVICE && is_ours(data))
		iommu_fwspec_init(data, dev_fwnode(&parent->dev));
	return NOTIFY_DONE;
}

static struct notifier_block notifier = { .notifier_call = on_device_added, .priority = INT_MAX };

static int add_iommu(void)
{
	struct platform_device_info info = { .name = "softhost", .id = PLATFORM_DEVID_NONE };
	int ret;

	info.fwnode = fwnode_create_software_node(NULL, NULL);
	parent = platform_device_register_full(&info);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	ret = iommu_device_sysfs_add(&iommu, NULL, NULL, "softiommu");
	if (!ret)
		ret = iommu_device_register(&iommu, &iommu_operations, &parent->dev);
	if (!ret)
		ret = bus_register_notifier(&pci_bus_type, &notifier);
	return ret;
}

static int add_host(int number)
{
	struct host *host = kvzalloc(sizeof(*host), GFP_KERNEL);
	struct pci_bus *bus;
	LIST_HEAD(resources);
	int i;

	if (!host)
		return -ENOMEM;
	host->sysdata.domain = domain;
	host->sysdata.node = sockets ? number * 2 / pfs : NUMA_NO_NODE;
	for (i = 0; i <= VFS; i++)
		describe(host->config[i], i > 0);
	host->bus = (struct resource){
		.name = "softhost", .start = buses[number], .end = buses[number], .flags = IORESOURCE_BUS,
	};
	pci_add_resource(&resources, &host->bus);
	pci_lock_rescan_remove();
	bus = pci_create_root_bus(&parent->dev, buses[number], &config_ops, &host->sysdata, &resources);
	if (bus) {
		pci_scan_child_bus(bus);
		pci_bus_add_devices(bus);
	}
	pci_unlock_rescan_remove();
	return bus ? 0 : -ENODEV;
}

static int __init softhost_init(void)
{
	int i, ret = add_iommu();

	for (i = 0; !ret && i < clamp(pfs, 1, (int)ARRAY_SIZE(buses)); i++)
		ret = add_host(i);
	return ret;
}
module_init(softhost_init);
