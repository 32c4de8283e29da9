//! What changes of routes and endpoints cost the requests meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Endpoints change with each, and routes with every fourth.
const EVERY: Duration = Duration::from_millis(100);
/// Goes on where the last one ended.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Changes a file of manifests until it is dropped.
pub(crate) struct Churn {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Churn {
    pub(crate) fn begin(manifests: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !told.load(Relaxed) {
                write(&manifests, NUMBER.fetch_add(1, Relaxed));
                thread::sleep(EVERY);
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a file can be written");
        }
    }
}

fn write(manifests: &Path, number: u32) {
    let (endpoint, host) = (number % 200 + 1, number / 4);
    let text = format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: churn, namespace: default}}
spec:
  ingressClassName: internal
  rules:
  - host: churn-{host}.home.example
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: churn, port: {{number: 80}}}}}}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: churn, namespace: default}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: churn, namespace: default, labels: {{kubernetes.io/service-name: churn}}}}
addressType: IPv4
endpoints: [{{addresses: [10.0.0.{endpoint}]}}]
ports: [{{port: 80}}]
"
    );
    // Whole, as a mounted ConfigMap changes.
    let new = manifests.with_file_name("churn.yaml");
    fs::write(&new, text).expect("a file can be written");
    fs::rename(new, manifests.join("churn.yaml")).expect("a file can be renamed");
}
