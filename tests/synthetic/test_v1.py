"""The frozen data set: its definition, its checksums, its command."""

import pytest

from vireid import cli
from vireid.synthetic import V1, v1, verify_v1, write_dataset
from vireid.synthetic.people.identity import sample_person
from vireid.types import InputError


def test_definition_is_frozen():
    assert (V1.layout, V1.preset, V1.images, V1.seed) == ("sysu", "standard", 12, 1_000_000_001)
    split = V1.split
    assert len(split.train) + len(split.val) == 395
    assert len(split.test) == 96
    assert len(split.all) * 6 * V1.images == 35_352


def test_first_person_is_frozen():
    person = sample_person(V1.seed, 1)
    found = (person.female, person.lower, person.outer_kind, person.hair, person.bag)
    first = (False, "trousers", "coat", "mid", "trolley")
    assert found == first, "a change of the generator needs a new version of VIReID-Synth"


def test_population_is_out_of_reach_of_training(tmp_path):
    with pytest.raises(InputError, match="reserved for the VIReID-Synth releases"):
        write_dataset(tmp_path / "x", identities=10, images=1, seed=V1.seed)


def test_verification_names_what_differs(tmp_path, monkeypatch):
    root = tmp_path / "set"
    for number in (1, 2):
        (root / f"cam1/{number:04d}").mkdir(parents=True)
        (root / f"cam1/{number:04d}/0001.jpg").write_bytes(bytes([number]))
    names = ["cam1/0001", "cam1/0002", "cam1/0003"]
    found = v1.checksums_of(root, names)
    assert list(found) == names[:2]
    listed = tmp_path / "list.txt"
    listed.write_text(
        f"# head\ncam1/0001 {found['cam1/0001']}\ncam1/0002 {'0' * 16}\ncam1/0003 {'0' * 16}\n"
    )
    reader = v1.read_checksums
    monkeypatch.setattr(v1, "read_checksums", lambda: reader(listed))
    assert verify_v1(root) == ["cam1/0002: bytes differ", "cam1/0003: missing"]
    (root / "cam1/0002/0001.jpg").unlink()
    assert "cam1/0002: bytes differ" in verify_v1(root)


def test_command_says_what_is_missing(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["synthesize", "--v1", "--verify", "--out", str(tmp_path / "none")])
    assert end.value.code == 2
    assert "2946 folders differ" in " ".join(capsys.readouterr().err.split())
