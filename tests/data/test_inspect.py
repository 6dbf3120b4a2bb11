"""`inspect` counts and finds every kind of trouble."""

from __future__ import annotations

import json

import fakes
import pytest
from PIL import Image
from rich.console import Console

from vireid.data.inspect import inspect, tables
from vireid.types import InputError


def test_a_clean_data_set(sysu_root):
    report = inspect("sysu", sysu_root)
    assert report["images"] == 144 and report["identities"] == 12
    assert report["parts"]["test"] == {
        "images": 48,
        "identities": 4,
        "visible": 32,
        "infrared": 16,
    }
    assert report["cameras"][2] == {
        "camid": 3,
        "modality": "infrared",
        "images": 24,
        "identities": 12,
    }
    assert report["sizes"] == [{"height": 48, "width": 24, "images": 144}]
    assert all(found["count"] == 0 for found in report["suspicious"].values())
    assert json.loads(json.dumps(report)) == report


def test_many_cameras_are_counted_not_listed(sysu_root):
    report = inspect("sysu", sysu_root, pixels=False)
    report["cameras"] = [report["cameras"][0] | {"camid": camid} for camid in range(1, 313)]
    _, cameras, *_ = tables(report)
    assert cameras.row_count == 21
    assert list(cameras.columns[0].cells)[-1].plain == "and 292 more"
    assert list(cameras.columns[-1].cells)[-1].plain == str(292 * 24)


def test_everything_suspicious(tmp_path):
    root = fakes.make_sysu(tmp_path, train=3, val=2, test=3, images=1)
    fakes.write_ids(root / "exp" / "test_id.txt", [3, 6, 7, 8])  # 3 is trained on
    (root / "cam3" / "0001" / "0001.jpg").unlink()
    (root / "cam6" / "0001" / "0001.jpg").unlink()
    data = (root / "cam1" / "0002" / "0001.jpg").read_bytes()
    (root / "cam2" / "0005" / "0001.jpg").write_bytes(data)
    (root / "cam1" / "0004" / "0001.jpg").write_bytes(data[:200])
    fakes.save(root / "cam4" / "0002" / "0001.jpg", 2, False, 0, (12, 40))
    Image.new("RGB", (24, 48), (3, 3, 3)).save(root / "cam5" / "0002" / "0001.jpg")
    day, night = (root / f"cam{camid}" / "0003" / "0001.jpg" for camid in (1, 3))
    grey = Image.open(night).convert("RGB")
    Image.open(day).save(night)
    grey.save(day)
    report = inspect("sysu", root)
    found = {kind: item["examples"] for kind, item in report["suspicious"].items()}
    assert found["duplicates"] == ["cam1/0002/0001.jpg = cam2/0005/0001.jpg"]
    assert found["one_modality"] == ["1 (visible)"]
    assert found["in_two_parts"] == ["3 (train and test)"]
    assert found["tiny"] == ["cam4/0002/0001.jpg (12x40)"]
    assert len(found["broken"]) == 1 and found["broken"][0].startswith("cam1/0004/0001.jpg (")
    assert found["nearly_black"] == ["cam5/0002/0001.jpg"]
    assert found["without_colour"] == ["cam1/0003/0001.jpg"]
    assert found["with_colour"] == ["cam3/0003/0001.jpg"]
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for one in tables(report):
        console.print(one)
    text = console.export_text()
    assert "nearly black" in text and "12 x 40" in text and "camera" in text


def test_without_opening_images(llcm_root):
    report = inspect("llcm", llcm_root, pixels=False)
    assert report["sizes"] == [] and set(report["suspicious"]) == {"one_modality", "in_two_parts"}
    assert len(tables(report)) == 3


@pytest.mark.parametrize("name", ["sysu", "regdb", "llcm", "folder"])
def test_data_sets_are_recognised(request, name):
    assert inspect(None, request.getfixturevalue(f"{name}_root"), pixels=False)["name"] == name


def test_nothing_to_inspect(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        inspect("folder", tmp_path / "nowhere")
