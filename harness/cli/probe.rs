//! `spillbench probe`: measures this machine for the cost model.

use std::fs;

use anyhow::Context;
use serde_json::json;
use spillbench_engine::ProbeStage;
use spillbench_runner::write_atomically;
use spillbench_schema::{
    Machine,
    machine::{DiskRates, Product},
};

use crate::{
    arguments::ProbeArguments,
    exit::{Exit, Failure},
    machine::MACHINE_FILE,
};

pub fn probe(arguments: &ProbeArguments) -> Result<Exit, Failure> {
    let dir = arguments.dir.as_ref().unwrap_or(&arguments.results);
    let cannot = |folder: &std::path::Path| format!("cannot create {}", folder.display());
    for folder in [dir, &arguments.results] {
        fs::create_dir_all(folder).with_context(|| cannot(folder))?;
    }
    let mut stage = |stage: ProbeStage| {
        eprintln!(
            "{}",
            match stage {
                ProbeStage::Compute => "measuring products",
                ProbeStage::Memory => "measuring memory",
                ProbeStage::Preparing => "writing a file to stream",
                ProbeStage::Disk => "measuring the disk",
                ProbeStage::Together => "measuring the disk while the cores compute",
            }
        );
    };
    let machine = spillbench_engine::probe(dir, arguments.size.0, &mut stage)?;
    let path = arguments.results.join(MACHINE_FILE);
    let mut text = serde_json::to_vec_pretty(&machine)?;
    text.push(b'\n');
    write_atomically(&path, &text)?;
    if arguments.json {
        println!("{}", json!({ "reason": "machine", "version": 1, "file": path, "machine": machine }));
    } else {
        print(&machine);
        println!("\nsaved in {}", path.display());
    }
    Ok(Exit::Fine)
}

fn print(machine: &Machine) {
    println!("{}\n", machine.name);
    println!("  memory       {}", machine.memory);
    if let Some(measured) = &machine.measured {
        println!("  kernel       {}", measured.machine.kernel);
        println!("  disk         {}", measured.filesystem);
        println!("  measured in  {:.0} s, medians of rounds", measured.took_s);
    }
    print_products(machine);
    if let Some(peak) = machine.compute.peak_gflops {
        println!("  innermost loop, one thread: {peak:.1} GFLOP/s");
    }
    for (threads, rate) in &machine.memory_gb_per_s {
        println!("  memory, {}: {rate:.1} GB/s read and written", counted(*threads));
    }
    println!("  hand-over between threads: {:.1} µs", machine.hand_over_us);
    print_disk(machine);
}

fn print_products(machine: &Machine) {
    let rows: Vec<usize> = machine
        .compute
        .products
        .first()
        .map(|table| table.gflops.keys().copied().collect())
        .unwrap_or_default();
    let heads: Vec<String> = rows.iter().map(|rows| format!("{rows:>8}")).collect();
    println!("\n  GFLOP/s by samples in a product   {}", heads.concat());
    for table in &machine.compute.products {
        let name = table.product.map_or("any", Product::name);
        let cells: Vec<String> = table.gflops.values().map(|rate| format!("{rate:>8.1}")).collect();
        let weights = table.weights.to_string();
        println!("  {name:<12} {:<10} {weights:<10}{}", counted(table.threads), cells.concat());
    }
    println!();
}

fn print_disk(machine: &Machine) {
    println!("\n  GB/s by chunk and queue depth   read   write   2R:1W   1R:1W");
    for rates in &machine.disk.rates {
        let DiskRates { queue_depth, chunk, read_gb_per_s, write_gb_per_s, mixed } = rates;
        let mixed: Vec<String> = mixed.iter().map(|mixed| format!("{:>8.2}", mixed.gb_per_s)).collect();
        let mixed = mixed.concat();
        let chunk = chunk.to_string();
        println!("  {chunk:<12} depth {queue_depth:<9} {read_gb_per_s:>7.2} {write_gb_per_s:>7.2}{mixed}");
    }
    println!(
        "  computing keeps {:.0} % of its rate while the disk streams, the disk {:.0} % of its while all cores compute",
        100.0 * machine.disk.compute_share_while_streaming,
        100.0 * machine.disk.disk_share_while_computing
    );
}

fn counted(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}
