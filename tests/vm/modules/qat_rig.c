// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own qat_4xxx driver with no hardware behind it.
 *
 * qat_4xxx/adf_drv.c of the running kernel's source is compiled as it is, from inside this file. Two of its calls are
 * bent on the way: mapping the BARs gives plain memory, and once the driver has filled in its table of hardware
 * operations, those that would wait for an answer (firmware, interrupts, power management) are taken out. Everything
 * that is seen from user space (sysfs, debugfs, SR-IOV, the state machine, errnos) is the kernel's intel_qat.
 *
 * For test guests only.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#include <adf_accel_devices.h>
#include <adf_common_drv.h>
#include "adf_4xxx_hw_data.h"

/* Bytes behind each BAR: SRAM, PMISC and the ring CSRs, as far as the driver reaches into them. */
static const size_t rig_bar_size[PCI_STD_NUM_BARS] = { [0] = SZ_1M, [2] = SZ_8M, [4] = SZ_4M };

static void rig_bars_release(struct device *dev, void *res)
{
	void **bars = res;
	int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++)
		vfree(bars[i]);
}

static int rig_bars_request(struct pci_dev *pdev)
{
	void **bars = devres_alloc(rig_bars_release, PCI_STD_NUM_BARS * sizeof(*bars), GFP_KERNEL);
	int i;

	if (!bars)
		return -ENOMEM;
	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		bars[i] = rig_bar_size[i] ? vzalloc(rig_bar_size[i]) : NULL;
		if (rig_bar_size[i] && !bars[i]) {
			rig_bars_release(&pdev->dev, bars);
			devres_free(bars);
			return -ENOMEM;
		}
	}
	devres_add(&pdev->dev, bars);
	return 0;
}

static void __iomem **rig_bars(struct pci_dev *pdev)
{
	return (void __iomem __force **)devres_find(&pdev->dev, rig_bars_release, NULL, NULL);
}

static int rig_ok(struct adf_accel_dev *accel_dev)
{
	return 0;
}

static void rig_nothing(struct adf_accel_dev *accel_dev)
{
}

static void rig_cut_hardware(struct adf_hw_device_data *hw)
{
	hw->fw_name = NULL;
	hw->fw_mmp_name = NULL;
	hw->alloc_irq = rig_ok;
	hw->free_irq = rig_nothing;
	hw->init_device = NULL;
	hw->reset_device = NULL;
	hw->send_admin_init = rig_ok;
	hw->enable_pm = NULL;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	hw->start_timer = NULL;
	hw->stop_timer = NULL;
	hw->measure_clock = NULL;
	hw->get_hb_clock = NULL;	/* so no heartbeat is asked of the firmware that is not there */
	hw->num_hb_ctrs = 0;		/* and whoever asks for it finds no counter that stands still */
	memset(&hw->ras_ops, 0, sizeof(hw->ras_ops));
	memset(&hw->tl_data, 0, sizeof(hw->tl_data));
	memset(&hw->rl_data, 0, sizeof(hw->rl_data));
#endif
}

/* A macro is not expanded inside itself, nor where its name stands in parentheses: those mean the real functions. */
#define adf_init_hw_data_4xxx(hw, ...)                            \
	do {                                                      \
		(adf_init_hw_data_4xxx)(hw, ##__VA_ARGS__);       \
		rig_cut_hardware(hw);                             \
	} while (0)
#define pci_select_bars(pdev, flags) (BIT(0) | BIT(2) | BIT(4))
#define pcim_iomap_regions_request_all(pdev, mask, name) rig_bars_request(pdev)
#define pcim_iomap_table(pdev) rig_bars(pdev)
#define pcim_request_all_regions(pdev, name) rig_bars_request(pdev)
#define pcim_iomap(pdev, bar, length) (rig_bars(pdev)[bar])

#include "qat_4xxx/adf_drv.c"
