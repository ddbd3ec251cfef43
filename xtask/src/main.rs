//! xtask
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let name = args.get(2).filter(|a| !a.starts_with('-')).cloned();
    let r = match args.get(1).map(String::as_str) {
        Some("up") => rt.block_on(caracal_cluster::cli::cluster::up(name)),
        Some("down") => {
            rt.block_on(caracal_cluster::cli::cluster::down_(name, args.contains(&"-v".to_owned())))
        }
        _ => Ok(()),
    };
    if let Err(e) = r {
        eprintln!("{e}");
        std::process::exit(1);
    }
}
