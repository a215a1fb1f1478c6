//! An axum service that uses the worker crate. It gets its listener from the supervisor, says when
//! it is ready, measures its requests, takes a new greeting without a restart, and finishes its
//! requests before it leaves. It takes no more connections than its configuration allows, and
//! refuses requests beyond the rate. Without a supervisor it serves all the same.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::routing::get;
use serde::Deserialize;
use worker::Worker;

#[derive(Clone)]
struct Service {
    worker: Worker,
    greeting: Arc<RwLock<String>>,
}

/// The values that all workers share.
#[derive(Deserialize)]
struct Shared {
    greeting: String,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    name: String,
    /// How long to wait before the answer, in milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

type Refused = (StatusCode, [(HeaderName, String); 1]);

async fn greet(
    State(service): State<Service>,
    Query(asked): Query<Asked>,
) -> Result<String, Refused> {
    service.worker.admit().map_err(|limited| {
        let after = limited.retry_after().to_string();
        (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, after)])
    })?;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_millis(asked.wait_ms.min(60_000))).await;
    let greeting = service.greeting.read().unwrap_or_else(PoisonError::into_inner).clone();
    let took = began.elapsed().as_secs_f64();
    // Without a supervisor there is nothing to push to.
    let _ = service.worker.histogram("request_seconds", took, &[("route", "/")]);
    Ok(format!("{greeting}, {} (worker {})\n", asked.name, service.worker.peer().worker))
}

#[tokio::main]
async fn main() -> Result<(), worker::Error> {
    let worker = Worker::join()?;
    let greeting = Arc::new(RwLock::new("hello".to_owned()));
    let kept = Arc::clone(&greeting);
    worker.on_config(move |shared: Option<Shared>| match shared {
        Some(Shared { greeting }) if greeting.is_empty() => Err("the greeting is empty"),
        Some(Shared { greeting }) => {
            *kept.write().unwrap_or_else(PoisonError::into_inner) = greeting;
            Ok(())
        }
        None => Ok(()),
    });
    let port = std::env::var("PORT").unwrap_or_else(|_| "8093".to_owned());
    let listener = worker.tokio_listener(&port)?;
    worker.ready()?;
    let drained = worker.drained();
    let app = Router::new().route("/", get(greet)).with_state(Service { worker, greeting });
    axum::serve(listener, app).with_graceful_shutdown(drained).await?;
    Ok(())
}
