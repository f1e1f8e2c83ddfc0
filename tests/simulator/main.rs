//! The loop over a simulated kernel: seeds, directed scripts, and the simulator itself checked
//! against the real one.
//!
//! ```text
//! cargo test --test simulator                                         some seeds
//! ONEPOLL_SIM_SEED=n cargo test --test simulator seeds                one seed again
//! ONEPOLL_SIM_SEEDS=1000000 cargo test --release --test simulator seeds -- --nocapture
//! ```

mod campaign;
mod clients;
mod coverage;
mod family;
mod faults;
mod faults_a;
mod faults_b;
mod faults_e;
mod faults_f;
mod kernel;
mod kernel_agrees;
mod link;
mod listeners;
mod play;
mod random;
mod services;
mod turns;
