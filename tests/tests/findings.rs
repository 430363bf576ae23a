//! Every file of `tests/fuzz/findings`, given again to the target that it once broke; and a short random walk through each
//! target, so that a target that panics at once is seen without the fuzzer.
#![forbid(unsafe_code)]

use std::path::Path;

use postern_tests::fuzz::TARGETS;

#[test]
fn what_the_fuzzer_found_stays_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/findings");
    let mut count = 0;
    for (name, target) in TARGETS {
        let Ok(files) = std::fs::read_dir(folder.join(name)) else { continue };
        let mut files: Vec<_> = files.map(|file| file.expect("a folder entry").path()).collect();
        files.sort();
        for file in files {
            println!("{}", file.display());
            target(&std::fs::read(&file).expect("a finding"));
            count += 1;
        }
    }
    for entry in std::fs::read_dir(&folder).expect("the folder of findings") {
        let name = entry.expect("a folder entry").file_name().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "findings of no target: {name}");
    }
    println!("{count} findings");
}

#[test]
fn every_target_has_its_program_and_survives_a_random_walk() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (name, target) in TARGETS {
        assert!(programs.join(name).with_extension("rs").exists(), "no fuzz_targets/{name}.rs");
        for round in 0..20 {
            let octets: Vec<u8> = (0..round * 13)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random as u8
                })
                .collect();
            target(&octets);
        }
    }
    let count = std::fs::read_dir(&programs).expect("the folder of programs").count();
    assert_eq!(count, TARGETS.len(), "a program without a target");
}
