//! The borders of the house, kept by reading its source: who may import whom, and what pure code may not touch.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// In files whose path starts with one of `places`, none of `words` may stand.
struct Border {
    places: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

const PURE: &[&str] = &[
    "k8s/src/model",
    "k8s/src/status/patch",
    "k8s/src/translate",
    "router/src/table",
    "router/src/framing",
    "router/src/filter",
    "router/src/upstream/balance",
    "router/src/upstream/ejection",
    "router/src/upstream/retry",
    "gateway/src/zone",
    "gateway/src/wire",
    "gateway/src/reference",
    "gateway/src/view",
    "gateway/src/records",
    "gateway/src/forwarders",
    "gateway/src/explain",
];

const BORDERS: &[Border] = &[
    Border {
        places: &["gateway/"],
        except: &[],
        words: &["router::", "router.workspace", "path = \"../router\""],
        why: "gateway and router never import each other",
    },
    Border {
        places: &["router/"],
        except: &[],
        words: &["use gateway::", "gateway.workspace", "path = \"../gateway\""],
        why: "gateway and router never import each other",
    },
    Border {
        places: &["gateway/", "router/", "benches/"],
        except: &[],
        words: &["k8s_openapi", "k8s-openapi", "use kube", "kube::", "kube.workspace"],
        why: "Kubernetes ends at the crate k8s",
    },
    Border {
        places: &["k8s/src/model"],
        except: &[],
        words: &["kube", "k8s_openapi", "gateway_api::", "tokio::", "tracing::"],
        why: "the model is plain data",
    },
    Border {
        places: PURE,
        except: &[],
        words: &[
            "std::fs",
            "tokio::",
            "Instant::now",
            "SystemTime::now",
            "Mutex",
            "RwLock",
            "tracing::",
            "info!(",
            "warn!(",
            "println!(",
            "std::env",
            "TcpStream",
            "UdpSocket",
        ],
        why: "pure code does no I/O, reads no clock, takes no lock and writes no log",
    },
    Border {
        places: &["router/src"],
        except: &["router/src/proxy", "router/src/listen", "router/src/upstream", "router/src/tls"],
        words: &["pingora_"],
        why: "pingora is named only in proxy, listen, upstream and tls",
    },
    Border {
        places: &["gateway/src"],
        except: &["gateway/src/serve"],
        words: &["hickory_server"],
        why: "hickory-server is named only in gateway::serve",
    },
];

#[test]
fn every_border_holds() {
    let mut crossings = Vec::new();
    for (path, text) in sources() {
        for border in BORDERS {
            let inside = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
            if !inside(border.places) || inside(border.except) {
                continue;
            }
            for (number, line) in code(&text) {
                if let Some(word) = border.words.iter().find(|word| line.contains(**word)) {
                    crossings.push(format!("{path}:{number} has `{word}`, but {}", border.why));
                }
            }
        }
    }
    assert!(crossings.is_empty(), "\n{}", crossings.join("\n"));
}

#[test]
fn every_source_file_says_what_it_is_in_its_first_line() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| path.ends_with(".rs") && !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "no `//!` line at the top of {silent:#?}");
}

/// Code lines with their numbers: no comments, and nothing after the test module begins.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// Rust files and manifests of the product crates, by path from the root of the repository.
fn sources() -> Vec<(String, String)> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_path_buf();
    let mut found = Vec::new();
    for package in ["k8s", "gateway", "router", "benches", "tests"] {
        collect(&root.join(package), &root, &mut found);
    }
    assert!(found.len() > 20, "the source was not found below {}", root.display());
    found
}

fn collect(directory: &Path, root: &Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).expect("a readable directory").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" {
            collect(&path, root, found);
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            found.push((relative, fs::read_to_string(&path).expect("readable source")));
        }
    }
}
