//! The comparison with other servers, tiny and with what every machine has, so that it cannot rot.

use std::io::Write;
use std::process::Command;

#[test]
fn the_comparison_with_other_servers_runs() {
    let mut run = Command::new("python3");
    run.args([
        "benches/peers/run",
        "--onepoll",
        env!("CARGO_BIN_EXE_onepoll"),
    ]);
    run.args(["--only", "onepoll,asyncio,socketserver", "--rounds", "1"]);
    run.args(["-d", "50ms", "-c", "4", "--patience", "60"]);
    let output = match run.output() {
        Ok(output) => output,
        Err(error) => {
            let required = std::env::var("ONEPOLL_TEST_REQUIRE_ALL").is_ok_and(|v| v == "1");
            assert!(!required, "python3 cannot be run: {error}");
            let _ = writeln!(std::io::stderr(), "skipped: python3: {error}");
            return;
        }
    };
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["onepoll", "asyncio", "socketserver"] {
        // In the call that it prints, and once in each mode.
        assert!(text.matches(name).count() >= 3, "{text}");
    }
}
