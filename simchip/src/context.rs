//! A device context: what lives from `create_device_context` to `destroy_device_context`.

use crate::DEVICES;
use crate::fault::{Fault, faults};
use crate::loader::Loader;
use crate::memory::DeviceMemory;
use crate::status::{Failure, GENERAL, failure, invalid};

/// A context, with or without a device.
#[derive(Default)]
pub(crate) struct Context {
    pub(crate) device: Option<Device>,
}

/// A device that was set.
pub(crate) struct Device {
    pub(crate) id: i32,
    pub(crate) memory: DeviceMemory,
    pub(crate) loader: Loader,
}

impl Context {
    pub(crate) fn set_device(&mut self, id: i32) -> Result<(), Failure> {
        for fault in read(Some(id))? {
            if let Fault::SetDevice(code) = fault {
                return Err(failure(code, "set_device fails on demand"));
            }
        }
        if !(0..DEVICES).contains(&id) {
            return Err(invalid(format!(
                "there is no device {id}: there are 0 to {}",
                DEVICES - 1
            )));
        }
        if let Some(device) = &self.device {
            return Err(invalid(format!("device {} is set already", device.id)));
        }
        let memory = DeviceMemory::new().map_err(|why| failure(GENERAL, why))?;
        self.device = Some(Device { id, memory, loader: Loader::default() });
        Ok(())
    }

    /// Gives everything of the device back, also when it then fails on demand.
    pub(crate) fn finalize(&mut self) -> Result<(), Failure> {
        let Some(device) = self.device.take() else { return Ok(()) };
        for fault in read(Some(device.id))? {
            if let Fault::Finalize(code) = fault {
                return Err(failure(code, "finalize_device fails on demand"));
            }
        }
        Ok(())
    }
}

/// The faults that concern a device; words that name none are failures themselves.
pub(crate) fn read(device: Option<i32>) -> Result<Vec<Fault>, Failure> {
    faults(device).map_err(|why| failure(GENERAL, why))
}
