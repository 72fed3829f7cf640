//! x
fn main() {
    let a: Vec<String> = std::env::args().skip(2).collect();
    match spillbench_schema::Study::load(std::env::args().nth(1).unwrap().as_ref(), &a) {
        Ok(s) => {
            println!("{}", s.trials.len());
            println!("{}", s.trials[s.trials.len() - 1].resolved_yaml());
        }
        Err(e) => println!("{e}"),
    }
}
