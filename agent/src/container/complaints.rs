//! The errors that libcontainer logs. Those it returns only say `failed syscall`, and leave the rest to tracing.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Passes the library's errors to `take`, one text each, until the process ends.
pub fn heard(take: impl Fn(String) + Send + Sync + 'static) {
    // This fails only for a second subscriber, and a container's process has only this one.
    let _ = tracing::subscriber::set_global_default(Errors(take));
}

struct Errors<T>(T);

impl<T: Fn(String) + Send + Sync + 'static> Subscriber for Errors<T> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let text = text.0.trim();
        if !text.is_empty() {
            (self.0)(text.to_owned());
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1) // never used, because no span is enabled
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message first, then the other fields with their names.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => {
                let rest = std::mem::take(&mut self.0);
                write!(self.0, "{value:?}{rest}")
            }
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[test]
    fn errors_are_passed_on_with_their_fields_and_nothing_else_is() {
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = said.clone();
        let errors = Errors(move |text| hears.lock().unwrap_or_else(PoisonError::into_inner).push(text));
        tracing::subscriber::with_default(errors, || {
            let span = tracing::info_span!("making");
            let _inside = span.enter();
            tracing::error!(path = %"/bin/x", code = 2, "failed to execute");
            tracing::error!(?span);
            tracing::warn!("something else");
        });
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(said.first().map(String::as_str), Some("failed to execute path=/bin/x code=2"));
        assert!(said.len() == 2 && !said.iter().any(|text| text.contains("something else")), "{said:?}");
    }
}
