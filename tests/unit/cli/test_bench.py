"""`moor bench cold-start`: where the time goes, and how it is shown."""

from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from moorage.api import LoadProgress
from moorage.cli.bench import picture, report
from moorage.cli.bench.measure import STAGES, ColdStart, stages_of
from moorage.cli.bench.report import Measured
from moorage.cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> Any:
    monkeypatch.setattr("sys.argv", ["moor", "bench", "cold-start", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def cold(*seconds: float) -> ColdStart:
    return ColdStart(dict(zip(STAGES, seconds, strict=True)))


MEASURED = Measured(
    (cold(0.1, 2, 0, 0.25, 0.25, 0.4), cold(0.1, 3, 0, 0.25, 0.25, 0.4), cold(0.1, 4, 0, 0.25, 0.25, 0.4)),
    (ColdStart({"imports": 1.5, "load": 0.25, "first answer": 0.25}),),
)


def test_the_time_before_a_step_belongs_to_what_was_done_and_never_gets_lost() -> None:
    steps = [
        LoadProgress("import", 0, 2, at=0.1),
        LoadProgress("import", 1, 2, at=0.6),
        LoadProgress("fetch", 0, 1, at=0.7),
        LoadProgress("fetch", 1, 1, at=1.7),
        LoadProgress("import", 2, 2, at=4.7),
        LoadProgress("weights", 50, 100, at=4.8),
        LoadProgress("weights", 100, 100, at=4.9),
        LoadProgress("warmup", 0, 1, at=5.0),
        LoadProgress("warmup", 1, 1, at=5.5),
        LoadProgress("ready", 1, 1, at=5.6),
    ]
    assert stages_of(steps, answered=6.0) == pytest.approx(
        {"interpreter": 0.1, "imports": 3.6, "fetch": 1.0, "load": 0.3, "warm-up": 0.5, "first answer": 0.5}
    )


def test_of_a_class_of_ones_own_load_is_all_that_it_does() -> None:
    steps = [
        LoadProgress("import", 0, 2, at=0.1),
        LoadProgress("import", 1, 2, at=0.5),
        LoadProgress("weights", 0, 1, at=0.6),
        LoadProgress("weights", 1, 1, at=3.6),
        LoadProgress("ready", 1, 1, at=3.7),
    ]
    found = stages_of(steps, answered=3.8)
    assert found == pytest.approx(
        {"interpreter": 0.1, "imports": 0.5, "fetch": 0, "load": 3.0, "warm-up": 0, "first answer": 0.2}
    )
    assert sum(found.values()) == pytest.approx(3.8)


def test_lines_for_programs_that_read_text_hold_each_run_and_the_median() -> None:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(report.as_text(MEASURED, bars=False))
    lines = [line.split() for line in captured.get().splitlines()]
    assert lines[1] == ["imports", "3.00", "s", "(2.00,", "3.00,", "4.00)"]
    assert lines[-3:] == [
        ["total", "4.00", "s", "(3.00,", "4.00,", "5.00)"],
        ["floor", "2.00", "s", "(2.00)"],
        ["ratio", "2.00"],
    ]


def test_bars_on_a_terminal_follow_one_another() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(report.as_text(MEASURED, bars=True))
    bars = [line for line in captured.get().splitlines() if "█" in line]
    stages, total = bars[:-2], bars[-2]
    assert total.count("█") == 40
    assert sum(line.count("█") for line in stages) == 40
    ends = [(line.index("█"), line.rindex("█") + 1) for line in stages]
    assert all(start == end for (_, end), (start, _) in pairwise(ends))
    assert "ratio" in captured.get()


def test_json_holds_the_medians_and_every_run() -> None:
    told = report.as_json(MEASURED)
    assert (told["cold_start"]["total_s"], told["floor"]["total_s"], told["ratio"]) == (4.0, 2.0, 2.0)
    assert told["cold_start"]["stages_s"]["imports"] == 3
    assert [one["total_s"] for one in told["cold_start"]["runs"]] == [3.0, 4.0, 5.0]
    assert "floor" not in report.as_json(Measured(MEASURED.runs))


def test_the_picture_is_a_bar_for_each_run_whose_parts_are_its_stages() -> None:
    root = ElementTree.fromstring(picture.svg(MEASURED))
    space = {"": "http://www.w3.org/2000/svg"}
    parts = [each for each in root.iterfind("rect", space) if each.find("title", space) is not None]
    assert len(parts) == 4 * len(STAGES)
    widths = [sum(float(part.get("width", 0)) for part in parts[at : at + len(STAGES)]) for at in range(0, 24, 6)]
    assert widths[2] == pytest.approx(620, abs=1)  # the longest fills the picture
    assert widths[0] / widths[2] == pytest.approx(3 / 5, abs=0.01)
    texts = [text.text for text in root.iterfind("text", space)]
    assert {"run 1", "run 3", "floor 1", "5.00 s", "2.00 s"} <= set(texts)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected a file, --storage-uri or --model-dir, found none"),
        (("--model-dir=m", "--picture=no/p.svg"), "--picture: no/p.svg: expected a file in a folder that there is"),
        (("--model-dir=m", "--picture=p.png"), "--picture: expected a file name that ends in .svg, found p.png"),
        (("--task=own.py:Own", "--floor"), "--floor: expected task image-classification, found own.py:Own"),
        (("cat.yaml", "--model-dir=m"), "expected either a file or --task, --storage-uri"),
        (("--model-dir=m", "--request=nothing.json"), "--request: nothing.json: cannot be read: No such file"),
        (("--task=nothing", "--model-dir=m"), "--task: "),
    ],
)
def test_a_mistake_is_told_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *words) == 2
    assert said in capsys.readouterr().err
