//! The figures of all processes as one page, for the client that asked one of them.

use crate::turn::ConnId;
use crate::wire::{Encode as _, Family, Kind, ProcessState, one_page};

/// What has come so far.
#[derive(Debug)]
pub(super) struct Collecting {
    /// Who is answered with it.
    pub(super) asked: Vec<ConnId>,
    /// What the supervisor knows of each process.
    states: Option<Vec<ProcessState>>,
    /// What each of the others has counted.
    pages: Vec<(u32, Vec<u8>)>,
}

impl Collecting {
    pub(super) fn new(asked: ConnId) -> Collecting {
        Collecting {
            asked: vec![asked],
            states: None,
            pages: Vec::new(),
        }
    }

    /// What the supervisor knows.
    pub(super) fn told(&mut self, states: Vec<ProcessState>) {
        self.states = Some(states);
    }

    /// What this process has counted.
    pub(super) fn page(&mut self, process: u32, page: Vec<u8>) {
        self.pages.push((process, page));
    }

    /// Whether all is there, for process `own`.
    pub(super) fn is_complete(&self, own: u32) -> bool {
        let has = |process| process == own || self.pages.iter().any(|(of, _)| *of == process);
        let states = self.states.as_ref();
        states.is_some_and(|all| all.iter().all(|one| !one.serves || has(one.process)))
    }

    /// All of it as one page, with what process `own` has counted itself. Of one that said nothing it says that it is
    /// not up.
    pub(super) fn into_page(mut self, own: u32, figures: Vec<Family>) -> Vec<u8> {
        let mut page = Vec::new();
        figures.encode(&mut page);
        self.pages.push((own, page));
        self.pages.sort_by_key(|(process, _)| *process);
        let mut up = Family::new(
            "onepoll_process_up",
            Kind::Gauge,
            "Whether a process serves and has told its figures.",
        );
        let mut restarts = Family::new(
            "onepoll_process_restarts_total",
            Kind::Counter,
            "How often a process was started again, since the server began.",
        );
        for state in self.states.unwrap_or_default() {
            let has_told = self.pages.iter().any(|(of, _)| *of == state.process);
            let process = state.process.to_string();
            up.push(&[("process", &process)], u64::from(has_told));
            restarts.push(&[("process", &process)], state.restarts);
        }
        let mut of_all = Vec::new();
        [up, restarts].encode(&mut of_all);
        let mut pages: Vec<&[u8]> = self.pages.iter().map(|(_, page)| &page[..]).collect();
        pages.push(&of_all);
        one_page(&pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(process: &str, value: u64) -> Vec<Family> {
        let mut figure = Family::new("n_total", Kind::Counter, "One.").with(value);
        figure.label("process", process);
        vec![figure]
    }

    fn state(process: u32, serves: bool, restarts: u64) -> ProcessState {
        ProcessState {
            process,
            serves,
            restarts,
        }
    }

    #[test]
    fn the_page_has_what_all_have_counted_and_says_which_are_missing() {
        let id = ConnId {
            slot: 0,
            generation: 1,
        };
        let mut collecting = Collecting::new(id);
        let mut first = Vec::new();
        figure("1", 7).encode(&mut first);
        collecting.page(1, first);
        assert!(!collecting.is_complete(2));
        collecting.told(vec![
            state(1, true, 0),
            state(2, true, 3),
            state(3, true, 0),
        ]);
        // The third has not answered, and the fourth does not run.
        assert!(!collecting.is_complete(2));
        collecting.told(vec![
            state(1, true, 0),
            state(2, true, 3),
            state(3, false, 1),
        ]);
        assert!(collecting.is_complete(2));
        let page = collecting.into_page(2, figure("2", 9));
        assert_eq!(
            String::from_utf8(page).unwrap(),
            r#"# HELP n_total One.
# TYPE n_total counter
n_total{process="1"} 7
n_total{process="2"} 9
# HELP onepoll_process_up Whether a process serves and has told its figures.
# TYPE onepoll_process_up gauge
onepoll_process_up{process="1"} 1
onepoll_process_up{process="2"} 1
onepoll_process_up{process="3"} 0
# HELP onepoll_process_restarts_total How often a process was started again, since the server began.
# TYPE onepoll_process_restarts_total counter
onepoll_process_restarts_total{process="1"} 0
onepoll_process_restarts_total{process="2"} 3
onepoll_process_restarts_total{process="3"} 1
"#
        );
    }
}
