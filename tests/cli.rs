//! The program as a person meets it: what it prints, where, and with which exit code.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const SHOP: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 5
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx
        resources: {requests: {cpu: 500m, memory: 1Gi}}
";

const TOO_LARGE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: huge, namespace: shop}
spec:
  containers:
  - name: huge
    image: nginx
    resources: {requests: {cpu: '9000'}}
";

fn supercargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SUPERCARGO_") || name == "NO_COLOR") {
        command.env_remove(name);
    }
    command.args(arguments).env("LANG", "C.UTF-8");
    command
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = supercargo(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that fails before it reads is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn folder_with(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let path = folder.path().to_owned();
    (folder, path)
}

#[test]
fn a_plan_of_a_deployment_places_every_pod() {
    let output = run(&["plan", "-f", "-", "--iterations", "2", "-o", "json"], SHOP);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["summary"]["scheduled"], 5);
    assert_eq!(plan["summary"]["solveSeconds"], 0.0);
    let pods: usize = plan["nodes"].as_array().unwrap().iter().map(|node| node["pods"].as_array().unwrap().len()).sum();
    assert_eq!(pods, 5);
}

#[test]
fn the_same_seed_and_iterations_give_the_same_bytes() {
    for format in ["table", "wide", "json", "yaml", "csv", "markdown", "html"] {
        let arguments = ["plan", "-q", "-f", "-", "--iterations", "2", "--seed", "7", "-o", format];
        let (first, second) = (run(&arguments, SHOP), run(&arguments, SHOP));
        assert_eq!(code(&first), 0, "{}", text(&first.stderr));
        assert!(!first.stdout.is_empty());
        assert!(first.stdout == second.stdout, "{format}");
    }
}

#[test]
fn a_pod_that_fits_nowhere_is_exit_code_3_with_its_reason() {
    let output = run(&["plan", "-f", "-", "--iterations", "2"], TOO_LARGE);
    assert_eq!(code(&output), 3, "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("1 pod unschedulable"), "{table}");
    assert!(table.contains("cpu"), "{table}");
}

#[test]
fn wrong_usage_and_wrong_input_are_exit_code_2_in_one_line() {
    let cases: [(&[&str], &str, &str); 7] = [
        (&["plan"], "", "-f"),
        (&["plan", "-f", "-"], "", "standard input"),
        (&["plan", "-f", "no-such-file.yaml"], "", "no-such-file.yaml"),
        (&["plan", "-f", "-", "--catalog", "no-such-catalog.json"], SHOP, "no-such-catalog.json"),
        (&["explain", "-f", "-", "-o", "html"], SHOP, "table, wide, json or yaml"),
        (&["explain", "-f", "-", "--iterations", "1", "pod", "shop/wbe-0"], SHOP, "shop/web-0"),
        (&["plan", "-f", "-", "--time-budget", "soon"], SHOP, "500ms, 5s or 2m"),
    ];
    for (arguments, input, named) in cases {
        let output = run(arguments, input);
        let error = text(&output.stderr);
        assert_eq!(code(&output), 2, "{arguments:?}: {error}");
        assert!(error.contains("error:") && error.contains(named), "{arguments:?}: {error}");
        assert!(!error.contains("panicked") && !error.contains("backtrace"), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_lists_what_there_is_and_nothing_more() {
    let help = text(&run(&["--help"], "").stdout);
    let there = [
        "plan",
        "explain",
        "bench",
        "catalog",
        "export-model",
        "convert",
        "crds",
        "verify",
        "completion",
        "controller",
    ];
    for command in there {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        assert_eq!(code(&run(&[command, "--help"], "")), 0);
    }
    for later in ["consolidate", "what-if"] {
        assert!(!help.contains(&format!("\n  {later} ")), "{later}");
    }
}

#[cfg(unix)]
#[test]
fn linked_as_a_kubectl_plugin_it_speaks_of_itself_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-supercargo");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_supercargo"), &plugin).unwrap();
    let output = Command::new(&plugin).args(["plan", "--help"]).output().unwrap();
    assert!(text(&output.stdout).contains("Usage: kubectl supercargo plan"));
}

#[test]
fn every_shell_gets_its_completion() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run(&["completion", shell], "");
        assert_eq!(code(&output), 0);
        assert!(text(&output.stdout).contains("export-model"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = supercargo(&["catalog", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(code(&output), 0);
}

#[test]
fn colours_are_written_only_where_they_are_wanted() {
    let plan = ["plan", "-q", "-f", "-", "--iterations", "1"];
    assert!(!run(&plan, SHOP).stdout.contains(&0x1b));
    let forced = [&plan[..], &["--color", "always"]].concat();
    assert!(run(&forced, SHOP).stdout.contains(&0x1b));
}

/// What standard output and error get, one after the other.
fn told(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn no_color_is_stronger_than_what_forces_colours() {
    let mixed = [SHOP, TOO_LARGE].join("---\n");
    let unknown = SHOP.replace("replicas", "repilcas");
    let plan = ["plan", "-f", "-", "--iterations", "1"];
    let cases: [(&[&str], &str); 4] = [
        (&plan, &mixed),
        (&plan, &unknown),
        (&["explain", "-f", "-", "--iterations", "1"], SHOP),
        (&["plan", "--time-budget", "soon"], ""),
    ];
    for (arguments, input) in cases {
        let forced = told(supercargo(arguments).env("CLICOLOR_FORCE", "1"), input);
        assert!(forced.contains('\x1b'), "{arguments:?}: {forced}");
        let plain = told(supercargo(arguments).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1"), input);
        assert!(!plain.contains('\x1b') && !plain.is_empty(), "{arguments:?}: {plain}");
    }
}

/// `script` is on every Debian, and gives the program a terminal of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_colours_unless_no_color_is_set() {
    let (_folder, path) = folder_with(&[("shop.yaml", SHOP)]);
    let on_terminal = |no_color: Option<&str>| {
        let line = format!("{} plan -q -f shop.yaml --iterations 1", env!("CARGO_BIN_EXE_supercargo"));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(&path).env("TERM", "xterm-256color");
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
            command.env_remove(name);
        }
        no_color.into_iter().for_each(|value| _ = command.env("NO_COLOR", value));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    assert!(on_terminal(None).contains('\x1b'));
    let plain = on_terminal(Some("1"));
    assert!(plain.contains("all 5 pods placed") && !plain.contains('\x1b'), "{plain}");
}

#[test]
fn an_output_file_gets_the_page_and_the_person_the_headline() {
    let (_folder, path) = folder_with(&[]);
    let file = path.join("plan.html");
    let output =
        run(&["plan", "-f", "-", "--iterations", "1", "-o", "html", "--output-file", file.to_str().unwrap()], SHOP);
    assert_eq!(code(&output), 0);
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("all 5 pods placed"));
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("<!doctype html>"));
}

#[test]
fn the_environment_sets_what_the_arguments_leave_open() {
    let output = supercargo(&["plan", "-f", "no-such-file"]).env("SUPERCARGO_SOLVER", "sorcery").output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("sorcery"));
}

#[test]
fn a_broken_workload_does_not_stop_a_bench() {
    let (_folder, path) = folder_with(&[("a.yaml", SHOP), ("b.yaml", "kind: ["), ("cons-c.yaml", SHOP)]);
    let folder = path.to_str().unwrap();
    let output = run(&["bench", folder, "--iterations", "1", "-o", "json"], "");
    assert_eq!(code(&output), 2, "{}", text(&output.stderr));
    let bench: Value = serde_json::from_slice(&output.stdout).unwrap();
    let outcomes: Vec<&str> =
        bench["workloads"].as_array().unwrap().iter().map(|entry| entry["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["planned", "broken", "skipped"]);
    assert_eq!(bench["workloads"][0]["pods"], 5);
}

#[test]
fn a_bench_beside_anchors_tells_the_ratio() {
    let anchors = "workload,kind,pods,karpenter_nodes,karpenter_usd_per_hour\na,plan,5,2,1000\n";
    let (_folder, path) = folder_with(&[("a.yaml", SHOP), ("anchors.csv", anchors)]);
    let file = |name: &str| -> String { Path::new(&path).join(name).to_str().unwrap().to_owned() };
    let (workload, anchors) = (file("a.yaml"), file("anchors.csv"));
    let output = run(&["bench", &workload, "--anchors", &anchors, "--iterations", "1", "-o", "json"], "");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let bench: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cost = bench["workloads"][0]["hourlyCost"].as_f64().unwrap();
    let mean = bench["geometricMean"].as_f64().unwrap();
    assert!((mean - cost / 1000.0).abs() < 1e-9);
}

#[test]
fn an_exported_program_has_a_row_for_the_shape_and_its_patterns() {
    let lp = text(&run(&["export-model", "-q", "-f", "-", "--iterations", "5"], SHOP).stdout);
    assert!(lp.contains("Minimize") && lp.contains("Subject To") && lp.contains(">= 5"), "{lp}");
    let mps = text(&run(&["export-model", "-q", "-f", "-", "--iterations", "5", "--format", "mps"], SHOP).stdout);
    assert!(mps.contains("ROWS") && mps.contains("COLUMNS") && mps.contains("ENDATA"), "{mps}");
}

#[test]
fn an_explanation_names_what_binds_and_the_runner_up() {
    let output = run(&["explain", "-q", "-f", "-", "--iterations", "1", "pod", "shop/web-3"], SHOP);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let words = text(&output.stdout);
    for part in ["shop/web-3", "asks for", "cpu 0.5", "stands on", "what binds", "runner-up"] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

/// Deployments of different sizes, none of which the solver is quickly done with.
fn many_workloads() -> String {
    let mut text = String::new();
    for number in 0..200 {
        let (cpu, memory) = (100 + 37 * number % 1900, 128 + 211 * number % 7000);
        text.push_str(&format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app-{number}, namespace: shop}}\nspec:\n  \
             replicas: 40\n  selector: {{matchLabels: {{app: app-{number}}}}}\n  template:\n    metadata: {{labels: {{app: \
             app-{number}}}}}\n    spec:\n      topologySpreadConstraints:\n      - {{topologyKey: \
             topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: \
             {{app: app-{number}}}}}}}\n      containers:\n      - {{name: main, image: x, resources: {{requests: {{cpu: \
             {cpu}m, memory: {memory}Mi}}}}}}\n"
        ));
    }
    text
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_prints_the_best_plan_so_far() {
    use std::time::{Duration, Instant};

    let (_folder, path) = folder_with(&[("many.yaml", &many_workloads())]);
    let file = path.join("many.yaml");
    let mut command = supercargo(&["plan", "-f", file.to_str().unwrap(), "--time-budget", "300s", "-o", "json"]);
    // Into a file: a full pipe would hold the program up.
    let answer = path.join("plan.json");
    let child = command.stdin(Stdio::null()).stdout(std::fs::File::create(&answer).unwrap()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    // From when the program catches the signal (number 2, the second bit), planning is under way.
    let catches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
    };
    let began = Instant::now();
    while !catches() {
        assert!(began.elapsed() < Duration::from_secs(60), "the program does not catch the signal");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "it was done before it was interrupted");
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("/bin/sh").args(["-c", &interrupt]).status().unwrap().success());
    let interrupted = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(interrupted.elapsed() < Duration::from_secs(20), "{:?} after the interrupt", interrupted.elapsed());
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(&answer).unwrap()).unwrap();
    assert_eq!((&plan["summary"]["scheduled"], &plan["summary"]["unschedulable"]), (&8000.into(), &0.into()));
    assert!(plan["summary"]["hourlyCost"].as_f64().unwrap() > 0.0);
}

const SAVINGS: &str = "
---
apiVersion: karpenter.sh/v1alpha1
kind: NodeOverlay
metadata: {name: savings}
spec:
  requirements:
  - {key: karpenter.k8s.aws/instance-family, operator: In, values: [m7i]}
  priceAdjustment: '-95%'
---
apiVersion: karpenter.sh/v1
kind: NodeClaim
metadata: {name: coming, labels: {topology.kubernetes.io/zone: us-east-1a}}
spec: {}
status: {providerID: aws:///us-east-1a/i-1, capacity: {cpu: '1', memory: 4Gi, pods: '8'}}
";

#[test]
fn overlays_and_machines_under_way_count() {
    let input = format!("{SHOP}{SAVINGS}");
    let output = run(&["plan", "-f", "-", "--iterations", "2", "-o", "json"], &input);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["existingNodes"][0]["pods"].as_array().unwrap().len(), 2);
    assert!(plan["nodes"][0]["instanceType"].as_str().unwrap().starts_with("m7i."), "{}", plan["nodes"][0]);
    let notes = text(&output.stderr);
    assert!(notes.contains("NodeClaims whose node is on its way count as capacity that is there: coming"), "{notes}");
    let (folder, path) = folder_with(&[("in.yaml", &input), ("plan.json", &text(&output.stdout))]);
    let (objects, file) = (path.join("in.yaml"), path.join("plan.json"));
    let proven = run(&["verify", "-f", objects.to_str().unwrap(), "--plan", file.to_str().unwrap()], "");
    assert_eq!(code(&proven), 0, "{}", text(&proven.stdout));
    let pod = plan["existingNodes"][0]["pods"][0].as_str().unwrap();
    let why = run(&["explain", "-f", objects.to_str().unwrap(), "--iterations", "2", "pod", pod], "");
    assert!(text(&why.stdout).contains("coming, which is on its way and costs nothing more"), "{}", text(&why.stdout));
    drop(folder);

    let wrong = run(&["plan", "-f", "-"], &input.replace("-95%", "95%"));
    assert_eq!(code(&wrong), 2);
    let words = text(&wrong.stderr);
    assert!(
        words.contains("NodeOverlay savings: spec.priceAdjustment: ") && words.contains("no change of a price"),
        "{words}"
    );
}

#[test]
fn the_definitions_are_printed_all_or_some() {
    let all = text(&run(&["crds"], "").stdout);
    let kinds = |text: &str| text.lines().filter(|line| line.starts_with("    kind: ")).count();
    assert_eq!((kinds(&all), all.matches("\n---\n").count()), (6, 5));
    let some = text(&run(&["crds", "--only", "nodepool", "--only", "NodeClaim"], "").stdout);
    assert_eq!(kinds(&some), 2);
    assert!(
        some.contains("\n  name: nodeclaims.karpenter.sh\n") && some.contains("\n  name: nodepools.karpenter.sh\n")
    );

    let unknown = run(&["crds", "--only", "Pod"], "");
    assert_eq!(code(&unknown), 2);
    let words = text(&unknown.stderr);
    assert!(words.contains("--only Pod: there is no definition of such a kind"), "{words}");
    assert!(words.contains("CapacityBuffer, EC2NodeClass, KWOKNodeClass, NodeClaim, NodeOverlay, NodePool"), "{words}");
}
