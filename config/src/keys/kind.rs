//! How the value of a key is read, written and described, whatever its type.
//!
//! [`Form`] knows one type of value, [`Field`] where in a spec such a value is. Together they are a
//! [`Kind`], which the table of keys holds without the type.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::raw::{Findings, Written};
use crate::spec::AppSpec;

/// A word that a value can be, and what it means.
pub type Choice = (&'static str, &'static str);

/// What a key does with its value in an [`AppSpec`].
pub(crate) trait Kind: Sync {
    /// The type, for the documentation.
    fn type_name(&self) -> &'static str;

    /// The JSON Schema of what a file may hold.
    fn schema(&self) -> Value;

    /// The words to choose from; empty where it is no choice.
    fn choices(&self) -> Vec<Choice>;

    /// The value that `spec` has, as a file would have it. `None`: nothing is set.
    fn shown(&self, spec: &AppSpec) -> Option<Value>;

    /// Sets what the file has, or notes why not.
    fn read(&self, findings: &mut Findings, key: &str, value: &Written, spec: &mut AppSpec);

    /// Sets, or adds to, what a flag has.
    fn parse(&self, text: &str, spec: &mut AppSpec) -> Result<(), String>;

    /// Puts the value of one spec over that of another.
    fn put(&self, from: &AppSpec, over: &mut AppSpec);

    /// Whether two specs differ in the value.
    fn differs(&self, one: &AppSpec, other: &AppSpec) -> bool;

    /// The value for another process.
    fn wire_value(&self, spec: &AppSpec) -> serde_json::Result<Value>;

    /// Sets what came from another process.
    fn set_from_wire(&self, value: Value, spec: &mut AppSpec) -> serde_json::Result<()>;
}

impl fmt::Debug for dyn Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

/// One type of value.
pub(crate) struct Form<T: 'static> {
    /// What the documentation calls it.
    pub(crate) type_name: &'static str,
    /// The JSON Schema of what a file may hold.
    pub(crate) schema: fn() -> Value,
    /// The words to choose from; empty where it is no choice.
    pub(crate) choices: fn() -> Vec<Choice>,
    /// Takes what a file has, or notes why not.
    pub(crate) read: fn(&mut Findings, &str, &Written) -> Option<T>,
    /// Takes what a flag has.
    pub(crate) parse: fn(&str) -> Result<T, String>,
    /// The value as a file would have it. `None`: nothing is set.
    pub(crate) shown: fn(&T) -> Option<Value>,
    /// What a flag that is repeated does to the value so far.
    pub(crate) repeat: fn(&mut T, T),
    /// What a value does to the one below it: a flag to that of a file, a key to that of another
    /// which stands for it.
    pub(crate) over: fn(&mut T, T),
}

/// Where in a spec a value is.
pub(crate) struct Place<T: 'static> {
    pub(crate) get: fn(&AppSpec) -> &T,
    pub(crate) get_mut: fn(&mut AppSpec) -> &mut T,
}

/// The [`Place`] of a field: `at!(times.kill_timeout)`.
macro_rules! at {
    ($($field:ident).+) => {
        $crate::keys::kind::Place {
            get: |spec| &spec.$($field).+,
            get_mut: |spec| &mut spec.$($field).+,
        }
    };
}
pub(super) use at;

/// A value of one type in one place.
pub(crate) struct Field<T: 'static> {
    pub(crate) place: Place<T>,
    pub(crate) form: &'static Form<T>,
}

impl<T: Clone + PartialEq + Serialize + DeserializeOwned> Kind for Field<T> {
    fn type_name(&self) -> &'static str {
        self.form.type_name
    }

    fn schema(&self) -> Value {
        (self.form.schema)()
    }

    fn choices(&self) -> Vec<Choice> {
        (self.form.choices)()
    }

    fn shown(&self, spec: &AppSpec) -> Option<Value> {
        (self.form.shown)((self.place.get)(spec))
    }

    fn read(&self, findings: &mut Findings, key: &str, value: &Written, spec: &mut AppSpec) {
        if let Some(value) = (self.form.read)(findings, key, value) {
            (self.form.over)((self.place.get_mut)(spec), value);
        }
    }

    fn parse(&self, text: &str, spec: &mut AppSpec) -> Result<(), String> {
        let value = (self.form.parse)(text)?;
        (self.form.repeat)((self.place.get_mut)(spec), value);
        Ok(())
    }

    fn put(&self, from: &AppSpec, over: &mut AppSpec) {
        let value = (self.place.get)(from).clone();
        (self.form.over)((self.place.get_mut)(over), value);
    }

    fn differs(&self, one: &AppSpec, other: &AppSpec) -> bool {
        (self.place.get)(one) != (self.place.get)(other)
    }

    fn wire_value(&self, spec: &AppSpec) -> serde_json::Result<Value> {
        serde_json::to_value((self.place.get)(spec))
    }

    fn set_from_wire(&self, value: Value, spec: &mut AppSpec) -> serde_json::Result<()> {
        *(self.place.get_mut)(spec) = serde_json::from_value(value)?;
        Ok(())
    }
}
