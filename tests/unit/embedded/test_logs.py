from pipeline.embedded import logs


def test_a_large_log_moves_aside_while_its_writer_goes_on(tmp_path):
    log = tmp_path / "worker.log"
    with log.open("a") as writer:
        writer.write("the past\n" * 20)
        writer.flush()

        logs.rotate(log, limit=100)
        writer.write("the present\n")

    assert log.read_text() == "the present\n"
    assert (tmp_path / "worker.log.1").read_text() == "the past\n" * 20


def test_a_small_log_stays(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text("one line\n")

    logs.rotate(log, limit=100)
    logs.rotate(tmp_path / "missing.log")

    assert [path.name for path in tmp_path.iterdir()] == ["worker.log"]


def test_the_last_lines_that_say_something(tmp_path):
    log = tmp_path / "worker.log"
    log.write_bytes(b"".join(b"line %d \xff\n\n" % number for number in range(5000)))

    assert logs.last_lines(log, 2) == ["line 4998 \N{REPLACEMENT CHARACTER}", "line 4999 \N{REPLACEMENT CHARACTER}"]
    assert logs.last_lines(tmp_path / "missing.log") == []


def test_new_lines_are_followed_with_their_childs_name_also_past_a_rotation(tmp_path):
    worker, beat = tmp_path / "worker.log", tmp_path / "beat.log"
    worker.write_text("from the last time\n")
    said = []
    follower = logs.Follower({"worker": worker, "beat": beat}, said.append)

    beat.write_text("started\nhalf a li")
    follower.read()
    with beat.open("a") as more:
        more.write("ne\n")
    follower.read()
    worker.write_text("anew\n")
    follower.read()

    assert said == ["beat   | started", "beat   | half a line", "worker | anew"]
