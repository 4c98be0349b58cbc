#![allow(clippy::unwrap_used)]
use super::*;

fn read(line: &[&str]) -> Result<Options> {
    Options::read(line.iter().map(OsString::from).collect())
}

#[test]
fn a_line_as_hadoop_takes_it() {
    let options = read(&[
        "-D",
        "mapred.reduce.tasks=3",
        "-Dx.y=a=b",
        "-files",
        "a.py,hdfs:///b#c",
        "-input",
        "/a,/b{1,2}",
        "/c",
        "-input",
        "/d",
        "--output",
        "/out",
        "-mapper",
        "./a.py -x",
        "-reducer",
        "/bin/cat",
        "-cmdenv",
        "A=b c",
        "-file",
        "r.sh",
        "-numReduceTasks",
        "5",
        "-jobconf",
        "mapred.job.name=my job",
        "-io",
        "text",
    ])
    .unwrap();
    assert_eq!(options.inputs, ["/a", "/b{1,2}", "/c", "/d"]);
    assert_eq!(options.conf.get(conf::REDUCES), Some("5"));
    assert_eq!(options.conf.get("x.y"), Some("a=b"));
    assert_eq!(options.conf.get(conf::LOCAL_FILES), Some("a.py,hdfs:///b#c,r.sh"));
    assert_eq!(options.conf.get(conf::JOB_NAME), Some("my job"));
    assert_eq!(options.environment, [("A".to_owned(), "b c".to_owned())]);
    let job = options.job().unwrap();
    assert_eq!((job.inputs().len(), job.output()), (4, "/out"));
}

#[test]
fn no_reducer_goes_before_every_number_of_them() {
    let line = ["-input", "/a", "-output", "/b", "-mapper", "cat", "-reducer", "NONE"];
    let options =
        read(&[&line[..], &["-numReduceTasks", "2", "-D", "mapreduce.job.reduces=4"]].concat());
    assert_eq!(options.unwrap().conf.get(conf::REDUCES), Some("0"));
    let null = read(&[&line[..], &["-outputformat", "NullOutputFormat"]].concat()).unwrap();
    assert_eq!(null.job().unwrap().output(), "");
}

#[test]
fn what_makes_no_sense_is_told() {
    let line = ["-input", "/a", "-output", "/b"];
    for (more, says) in [
        (&["-mapper"][..], "-mapper has no value"),
        (&["-what", "x"], "unrecognized option: -what"),
        (&["x"], "'x' belongs to no option"),
        (&["-io", "typedbytes"], "typedbytes"),
        (&["-libjars", "a.jar"], "no Java"),
        (&["-background"], "-background"),
        (&["-D", "x"], "NAME=VALUE"),
        (&["-numReduceTasks", "many"], "many is no number"),
        (&["-inputformat", "SequenceFileInputFormat"], "no input format"),
        (&["-outputformat", "SequenceFileOutputFormat"], "no output format"),
        (&["-mapper", "aggregate"], "no mapper"),
        (&["-reducer", "org.apache.hadoop.mapred.lib.LongSumReducer"], "Java class"),
    ] {
        let more = if more == ["x"] { vec!["-verbose", "x"] } else { more.to_vec() };
        let error = read(&[&line[..], &more].concat()).and_then(Options::job).unwrap_err();
        assert!(format!("{error:#}").contains(says), "{more:?}: {error:#}");
    }
    assert!(read(&["-output", "/b"]).unwrap_err().to_string().contains("-input"));
    assert!(read(&["-input", "/b"]).unwrap_err().to_string().contains("-output"));
    assert!(read(&["-info"]).unwrap().usage);
}
