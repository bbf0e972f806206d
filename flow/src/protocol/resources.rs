//! Quantities of resources, to 1/10000 and without rounding: ten times 0.1 is one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Parts of one.
pub(crate) const ONE: i64 = 10_000;
/// The largest quantity of anything.
const MOST: f64 = 1_000_000.0;
/// Names that mean something else, or would in other systems.
const RESERVED: [&str; 4] = ["cpus", "CPU", "GPU", "memory"];

/// What a worker advertises, or a bundle of a placement group reserves: `cpus`, and labels with
/// quantities.
///
/// ```
/// use mailring::flow::Resources;
///
/// let machine = Resources::cpus(4.0).with("chipyard", 1.0).with("licence", 0.5);
/// assert_eq!(machine.to_string(), "cpus 4, chipyard 1, licence 0.5");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    pub(crate) cpus: i64,
    pub(crate) labels: Vec<(String, i64)>,
    /// What is wrong with the first invalid quantity or name; said when it is used.
    pub(crate) bad: Option<String>,
}

impl Resources {
    /// So many cpus, and nothing else.
    pub fn cpus(cpus: f64) -> Self {
        Self::default().and_cpus(cpus)
    }

    /// The same with other cpus.
    #[must_use]
    pub fn and_cpus(mut self, cpus: f64) -> Self {
        match quantity("cpus", cpus) {
            Ok(cpus) => self.cpus = cpus,
            Err(why) => self.complain(why),
        }
        self
    }

    /// The same with a quantity of `label`, in place of what it had of it.
    #[must_use]
    pub fn with(mut self, label: &str, amount: f64) -> Self {
        match labelled(label, amount) {
            Ok(amount) => {
                self.labels.retain(|(known, _)| known != label);
                self.labels.push((label.to_owned(), amount));
            }
            Err(why) => self.complain(why),
        }
        self
    }

    fn complain(&mut self, why: String) {
        self.bad.get_or_insert(why);
    }

    /// Whether all quantities are such as can be asked for.
    pub(crate) fn check_range(&self) -> Result<(), Error> {
        let most = MOST as i64 * ONE;
        let bad = |amount: &i64| !(0..=most).contains(amount);
        if bad(&self.cpus) || self.labels.iter().any(|(_, amount)| bad(amount)) {
            return Err(Error::Quantity(format!(
                "{self}: a quantity is a number from 0 to {MOST}"
            )));
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.bad {
            Some(why) => Err(Error::Quantity(why.clone())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpus {}", Amount(self.cpus))?;
        for (label, amount) in &self.labels {
            write!(f, ", {label} {}", Amount(*amount))?;
        }
        Ok(())
    }
}

/// A quantity as people write it.
pub(crate) struct Amount(pub(crate) i64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / ONE as f64)
    }
}

/// A quantity in parts of one.
pub(crate) fn quantity(what: &str, given: f64) -> Result<i64, String> {
    let parts = given * ONE as f64;
    // A decimal fraction is not exact in binary: what is meant is the nearest part.
    let whole = parts.round();
    if !(0.0..=MOST).contains(&given) || (parts - whole).abs() > 1e-4 {
        return Err(format!(
            "{what} = {given} is not possible: a quantity is a number from 0 to {MOST} with at most 4 decimals"
        ));
    }
    Ok(whole as i64)
}

/// A quantity of a label of the user's own.
pub(crate) fn labelled(label: &str, given: f64) -> Result<i64, String> {
    if label.is_empty() || RESERVED.contains(&label) {
        return Err(format!(
            "`{label}` is not a label for a resource: it is empty, or reserved ({}); set cpus by themselves",
            RESERVED.join(", ")
        ));
    }
    match quantity(label, given)? {
        0 => Err(format!("{label} = {given} asks for nothing; leave it out")),
        amount => Ok(amount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_tenths_are_one() {
        let tenth = quantity("cpus", 0.1).unwrap();
        assert_eq!((0..10).map(|_| tenth).sum::<i64>(), ONE);
    }

    #[test]
    fn absurd_quantities_are_refused() {
        for given in [-1.0, f64::NAN, f64::INFINITY, 1e7, 0.00001, -0.0001] {
            assert!(quantity("cpus", given).is_err(), "{given}");
        }
        for label in ["", "cpus", "GPU", "memory"] {
            assert!(labelled(label, 1.0).is_err(), "{label}");
        }
        assert!(labelled("chip", 0.0).is_err());
        assert_eq!(labelled("chip", 0.0001), Ok(1));
        let bad = Resources::cpus(1.0).with("chip", -2.0);
        assert!(bad.check().unwrap_err().to_string().contains("chip = -2"));
    }
}
