//! Functions of templates besides Go's own: Tinkerbell's four and a core of the hermetic sprig set. Hermetic means that
//! they use neither clock, randomness, environment nor network.

mod arguments;
mod encoding;
mod lists;
mod numbers;
mod text;
mod tinkerbell;

use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};

use arguments::Arguments;

type Outcome = Result<Value, TemplateError>;
type Function = fn(&Arguments<'_>) -> Outcome;

/// One rule for all groups: a name and a function of its arguments.
type Table = &'static [(&'static str, Function)];

pub(super) fn all() -> FuncMap {
    let tables: [Table; 5] = [tinkerbell::TABLE, text::TABLE, lists::TABLE, numbers::TABLE, encoding::TABLE];
    let entry = |(name, function): &(&'static str, Function)| {
        let (name, function) = (*name, *function);
        let call: gotmpl::ValueFunc = Arc::new(move |values: &[Value]| function(&Arguments { name, values }));
        (name.to_owned(), call)
    };
    tables.into_iter().flatten().map(entry).collect()
}
