//! `aka demo`: the first thing that somebody does who has never seen the project.

use std::process::Command;

use crate::harness::{
    Value,
    child::{Child, Directory},
    program, run,
};

/// Reads what the demo prints up to the line that links an account.
fn curl_line(demo: &Child) -> String {
    loop {
        let line = demo.line();
        if let Some(at) = line.find("curl ") {
            return line[at..].to_owned();
        }
    }
}

/// Runs a line as somebody would who pastes it into a shell. Returns the status and the body.
fn paste(line: &str) -> (u16, Value) {
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("{line} --silent --noproxy '*' --write-out '\\n%{{http_code}}'"),
        ])
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{line}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (answer, status) = text.rsplit_once('\n').expect("curl writes the status last");
    // The line may ask curl to show the head of the answer, too.
    let body = answer.find('{').map_or(answer, |at| &answer[at..]);
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"));
    (status.parse().expect("a status is a number"), body)
}

#[test]
fn the_printed_line_links_an_account() {
    run(async {
        let directory = Directory::new();
        let demo = program::start(
            &["demo", "--listen", "127.0.0.1:0"],
            &[],
            &directory.path().join("demo.log"),
        );
        let line = curl_line(&demo);

        let (status, linked) = paste(&line);
        assert_eq!(status, 201, "{linked}");
        assert_eq!(linked["linked_by"], "manual");
        let (status, again) = paste(&line);
        assert_eq!((status, again), (200, linked), "the line can be pasted again");

        let (_, status) = demo.stop();
        assert_eq!(status, 0);
    });
}

#[test]
fn a_demo_forgets_everything() {
    run(async {
        let directory = Directory::new();
        for run in 0..2 {
            let log = directory.path().join(format!("demo-{run}.log"));
            let demo = program::start(&["demo", "--listen", "127.0.0.1:0"], &[], &log);
            let (status, linked) = paste(&curl_line(&demo));
            assert_eq!(status, 201, "{linked}");
            demo.stop();
        }
    });
}
