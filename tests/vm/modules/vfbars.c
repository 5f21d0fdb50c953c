// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gives emulated QAT VFs their BARs. QEMU does not know that its vfio-user-pci functions are VFs, so it maps their memory
 * at the addresses in their own BARs, where a VF has none (PCI Express, 9.3.4.1.11): this writes there what the kernel
 * took out of the PF's SR-IOV capability. It happens when the kernel makes a VF, before any driver binds to it: vfio-pci
 * would restore the zeros it saved.
 *
 * For test guests only.
 */
#include <linux/module.h>
#include <linux/pci.h>

static int vfbars_event(struct notifier_block *block, unsigned long action, void *data)
{
	struct pci_dev *pdev = to_pci_dev((struct device *)data);
	int bar;

	if (action != BUS_NOTIFY_ADD_DEVICE || !pdev->is_virtfn)
		return NOTIFY_DONE;
	for (bar = 0; bar <= 2; bar += 2) {
		u64 start = pci_resource_start(pdev, bar);

		pci_write_config_dword(pdev, PCI_BASE_ADDRESS_0 + 4 * bar, lower_32_bits(start));
		pci_write_config_dword(pdev, PCI_BASE_ADDRESS_1 + 4 * bar, upper_32_bits(start));
	}
	pci_write_config_word(pdev, PCI_COMMAND, PCI_COMMAND_MEMORY);
	return NOTIFY_OK;
}

static struct notifier_block vfbars_block = { .notifier_call = vfbars_event };

static int __init vfbars_init(void)
{
	return bus_register_notifier(&pci_bus_type, &vfbars_block);
}

static void __exit vfbars_exit(void)
{
	bus_unregister_notifier(&pci_bus_type, &vfbars_block);
}

module_init(vfbars_init);
module_exit(vfbars_exit);
MODULE_DESCRIPTION("BARs of emulated QAT VFs");
MODULE_LICENSE("GPL");
