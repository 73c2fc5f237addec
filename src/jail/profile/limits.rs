//! The keys of `[limits]`: their units and bounds.

use super::{Draft, Place};
use crate::error::Result;
use crate::wire::manifest::{Class, Quantities};

const MIB: u64 = 1 << 20;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name in a manifest.
    pub name: &'static str,
    /// Least and greatest value, in its unit.
    pub bounds: (u64, u64),
    /// How much of the manifest's own unit it is.
    unit: u64,
    field: fn(&mut Quantities) -> &mut u64,
}

/// All of them, in the order in which they are written.
pub const KEYS: [Key; 9] = [
    Key {
        name: "wall_s",
        bounds: (1, 86_400),
        unit: 1_000,
        field: |all| &mut all.wall_ms,
    },
    Key {
        name: "cpu_s",
        bounds: (1, 86_400),
        unit: 1,
        field: |all| &mut all.cpu_s,
    },
    Key {
        name: "memory_mib",
        bounds: (16, 1 << 20),
        unit: MIB,
        field: |all| &mut all.memory,
    },
    Key {
        name: "processes",
        bounds: (1, 32_768),
        unit: 1,
        field: |all| &mut all.processes,
    },
    Key {
        name: "descriptors",
        bounds: (16, 65_536),
        unit: 1,
        field: |all| &mut all.descriptors,
    },
    Key {
        name: "file_mib",
        bounds: (1, 1 << 20),
        unit: MIB,
        field: |all| &mut all.file,
    },
    Key {
        name: "tmp_mib",
        bounds: (1, 1 << 16),
        unit: MIB,
        field: |all| &mut all.tmp,
    },
    Key {
        name: "output_mib",
        bounds: (1, 1 << 12),
        unit: MIB,
        field: |all| &mut all.output,
    },
    Key {
        name: "net_mib",
        bounds: (1, 1 << 20),
        unit: MIB,
        field: |all| &mut all.net,
    },
];

impl Key {
    /// The value in its unit.
    pub fn of(&self, mut quantities: Quantities) -> u64 {
        *(self.field)(&mut quantities) / self.unit
    }
}

impl Draft {
    /// Sets the limit `name` to `value` in its own unit.
    ///
    /// # Errors
    /// Kind usage where there is no such limit, it is out of bounds, or the class has none.
    pub fn limit(&mut self, name: &str, value: u64, place: &Place) -> Result<()> {
        let names = KEYS.map(|key| key.name).join(", ");
        let key = KEYS.iter().find(|key| key.name == name).ok_or_else(|| {
            place.wrong(
                format!("there is no limit `{name}`"),
                format!("there are: {names}"),
            )
        })?;
        let (least, most) = key.bounds;
        if !(least..=most).contains(&value) {
            let hint =
                format!("{least} to {most}; what a manifest does not name keeps its default");
            return Err(place.wrong(format!("`{name}` {value} is out of bounds"), hint));
        }
        match (name, self.class()) {
            ("processes", Class::Native) => {
                return Err(place.wrong(
                    "a native jail is one process and cannot have more",
                    "take `processes` away, or use class `native-generic`",
                ));
            }
            ("tmp_mib" | "net_mib", Class::Native | Class::NativeGeneric) => {
                let class = self.class().name();
                return Err(place.wrong(
                    format!("class `{class}` has no files and no network to limit"),
                    format!("take `{name}` away, or use class `foreign`"),
                ));
            }
            _ => {}
        }
        *(key.field)(&mut self.manifest.limits) = value.saturating_mul(key.unit);
        Ok(())
    }
}
