//! OpenTelemetry traces: one for each workflow that has ended, with a span for each action that ran. They go to a collector
//! by OTLP over HTTP. Only a `thimble` that is built with the feature `otel` has this.

mod spans;

use std::time::Duration;

use model::Workflow;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SpanExporter as _;

pub use spans::spans;

/// The variables that name the collector, as for every program with OpenTelemetry.
pub const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// For one trace, with the attempts.
const SENT_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("the client of the collector cannot be made")]
    Client(#[from] reqwest::Error),
    #[error("the settings of the collector cannot be used; see {} and {}", VARIABLES[0], VARIABLES[1])]
    Settings(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("the collector did not take the trace")]
    Refused(#[from] OTelSdkError),
}

/// The way to a collector.
#[derive(Debug)]
pub struct Collector(opentelemetry_otlp::SpanExporter);

impl Collector {
    /// The collector that the variables name; `None` if they name none.
    ///
    /// # Errors
    /// When the address is not one.
    pub fn of_environment() -> Result<Option<Self>, TraceError> {
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if VARIABLES.iter().any(is_set) { Self::new(None).map(Some) } else { Ok(None) }
    }

    /// The collector at a whole address, such as `http://127.0.0.1:4318/v1/traces`.
    ///
    /// # Errors
    /// When the address is not one.
    pub fn at(address: &str) -> Result<Self, TraceError> {
        Self::new(Some(address))
    }

    fn new(address: Option<&str>) -> Result<Self, TraceError> {
        let client = reqwest::Client::builder().timeout(SENT_WITHIN).build()?;
        let builder = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(SENT_WITHIN);
        let mut exporter = match address {
            Some(address) => builder.with_endpoint(address).build()?,
            None => builder.build()?,
        };
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
        let resource = Resource::builder_empty().with_attributes([KeyValue::new("service.name", "thimble"), version]);
        let resource = resource.with_detectors(&[Box::new(opentelemetry_sdk::resource::EnvResourceDetector::new())]);
        exporter.set_resource(&resource.build());
        Ok(Self(exporter))
    }

    /// Sends the trace of a workflow. One that has not ended, or was imported as ended, has none.
    ///
    /// # Errors
    /// When the collector does not take it.
    pub async fn send(&self, workflow: &Workflow) -> Result<(), TraceError> {
        let spans = spans(workflow);
        if spans.is_empty() {
            return Ok(());
        }
        Ok(self.0.export(spans).await?)
    }
}
