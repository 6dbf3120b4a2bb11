"""What a similarity means: how many strangers look as alike, the same number at every door."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import server_kit
from command_kit import run
from index_helpers import changed, make, people

from vireid.index import Searcher, open_index, strangers
from vireid.index.strangers import Strangers, Tail
from vireid.types import Modality

VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED


def measured(count: int = 300, **fields: object) -> tuple[Strangers, np.ndarray, np.ndarray]:
    """What is measured of some people, their similarities, and which pairs are strangers."""
    some = changed(people(count), **fields)
    found = Strangers.measure(some.embedding, some.pids, some.modality, entries=count)
    assert found is not None
    pairs = np.triu(np.ones((count, count), bool), 1)
    if found.labelled:
        pairs &= (some.pids[:, None] != some.pids) & (some.pids[:, None] >= 0) & (some.pids >= 0)
    return found, some.embedding @ some.embedding.T, pairs


@pytest.mark.parametrize("labelled", [True, False])
def test_it_counts_pairs_of_strangers(labelled: bool) -> None:
    pids = people(300).pids if labelled else np.full(300, -1)
    found, similarity, strangers = measured(pids=pids)
    assert found.labelled is labelled
    infrared = people(300).modality == 1
    kinds = {
        (VISIBLE, VISIBLE): ~infrared[:, None] & ~infrared,
        (INFRARED, INFRARED): infrared[:, None] & infrared,
        (INFRARED, VISIBLE): infrared[:, None] != infrared,
    }
    who = pids if labelled else np.arange(300)
    there = {
        sensor: len(set(who[(infrared == (sensor is INFRARED)) & (who >= 0)].tolist()))
        for sensor in (VISIBLE, INFRARED)
    }
    for (query, entry), kind in kinds.items():
        values = similarity[strangers & kind]
        most = min(there[query], there[entry])
        most = most * (most - 1) // 2
        for one in np.quantile(values, [0, 0.3, 0.9, 0.99, 0.999]):
            exact = min((len(values) + 1) / (1 + np.count_nonzero(values >= one)), most)
            said = found.one_in(float(one), query, entry)
            assert 0.65 * exact - 1 <= said <= 1.02 * exact, "never much less likely than it is"
        assert found.one_in(1.0, query, entry) == pytest.approx(min(len(values) + 1, most), rel=0.1)
        assert found.one_in(-1.0, query, entry) == 1
        # Where the query's sensor isn't known, whatever says least.
        assert found.one_in(0.6, None, entry) <= found.one_in(0.6, query, entry)


def test_people_who_look_alike_make_a_similarity_mean_less() -> None:
    few, many = measured()[0], measured()[0]
    alike = people(300)
    vectors = alike.embedding + 2 * alike.embedding[:1]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    many = Strangers.measure(vectors, alike.pids, alike.modality, entries=300)
    assert many is not None
    assert many.one_in(0.7, INFRARED, VISIBLE) < 10 < few.one_in(0.7, INFRARED, VISIBLE)


def test_numbers_are_rounded_down_to_two_digits() -> None:
    tail = Tail(pairs=123_456, people=700, ranks=[1, 10, 123_456], similarities=[0.9, 0.8, -0.5])
    found = Strangers(entries=1, images=1, labelled=True, tails={"visible": tail})
    assert found.one_in(0.95, VISIBLE, VISIBLE) == 120_000
    assert found.one_in(0.85, VISIBLE, VISIBLE) == 12_000  # one to nine pairs: nine are taken
    assert found.one_in(0.85, INFRARED, VISIBLE) == 12_000  # no pairs of both: those of one
    assert found.one_in(0.0, VISIBLE, VISIBLE) == 1


def test_of_too_few_people_nothing_is_said() -> None:
    """However many images of them there are; without identities, images are counted."""
    some = people(300)
    for count in (2, 9, 10):
        pids = np.arange(300) // 6 % count  # as cameras go by sixes: all of both sensors
        found = measured(300, pids=pids)[0]
        assert found.enough is (count >= 10)
        assert {tail.people for tail in found.tails.values()} == {count}
        assert (found.one_in(-1.0, INFRARED, VISIBLE) == 1) is found.enough
        assert (found.one_in(0.9, None, VISIBLE) is None) is not found.enough
    assert measured(6)[0].images == 5  # one has no identity
    assert not Strangers.measure(np.eye(9), np.full(9, -1), np.zeros(9), entries=9).enough
    assert Strangers.measure(np.eye(10), np.full(10, -1), np.zeros(10), entries=10).enough
    assert Strangers.measure(some.embedding, np.ones(300), some.modality, entries=300) is None


def test_many_images_of_few_people_say_no_more_than_pairs_of_people() -> None:
    found = measured(300, pids=np.arange(300) // 6 % 18)[0]
    assert min(tail.pairs for tail in found.tails.values()) > 4000
    for query, entry in ((VISIBLE, VISIBLE), (INFRARED, VISIBLE), (None, INFRARED)):
        assert found.one_in(1.0, query, entry) == 150  # 18 x 17 / 2, rounded down


def test_few_people_at_night_are_compared_with_none() -> None:
    """Pairs of one sensor stand for those of both, as where the index has none of a sensor."""
    some = people(300)
    night = some.modality == 1
    found = measured(300, pids=np.where(night, 1, some.pids))[0]
    assert found.tails["visible_infrared"].people == 1 and "infrared" not in found.tails
    assert found.one_in(0.6, INFRARED, VISIBLE) == found.one_in(0.6, VISIBLE, VISIBLE) is not None


NONSENSE = [
    None, 7, [], {}, {"tails": {}}, {"tails": {"visible": {"pairs": 3}}}, {"entries": "many"},
]  # fmt: skip


@pytest.mark.parametrize("stored", NONSENSE)
def test_what_somebody_wrote_there_is_no_measurement(stored: object) -> None:
    assert Strangers.read(stored) is None


@pytest.mark.parametrize(
    "change", [{"pairs": "x"}, {"people": 0}, {"ranks": [1]}, {"ranks": [0, 2]},
               {"similarities": ["a", "b"]}, {"similarities": [float("nan"), 0.1]}, {"more": 1}],
)  # fmt: skip
def test_a_measurement_that_was_changed_is_none(change: dict) -> None:
    tail = Tail(pairs=2, people=2, ranks=[1, 2], similarities=[0.9, 0.1])
    plain = Strangers(entries=2, images=2, labelled=True, tails={"visible": tail}).as_plain()
    assert Strangers.read(json.loads(json.dumps(plain))) is not None
    plain["tails"]["visible"] |= change
    assert Strangers.read(plain) is None


def test_an_index_measures_when_it_is_built_has_doubled_or_is_compacted(tmp_path: Path) -> None:
    query = people(1, first=5).embedding
    with make(tmp_path / "ix") as index:
        assert index.strangers is None
        index.add(people(4))
        assert not index.strangers.enough and index.search(query)[0][0].one_in is None
        index.add(people(200, first=4))
        assert index.strangers is not None and index.strangers.entries == 204
        with open_index(tmp_path / "ix") as reader:
            (hits,) = reader.search(query, modality=VISIBLE)
            assert [hit.one_in for hit in hits] == [
                index.strangers.one_in(hit.similarity, VISIBLE, hit.modality) for hit in hits
            ]
            assert hits[0].one_in >= 100 > hits[-1].one_in
            index.add(people(150, first=300))
            assert index.strangers.entries == 204
            index.add(people(150, first=500))
            assert index.strangers.entries == 504
            assert reader.search(query)[0][0].one_in is not None
            assert reader.info().strangers == index.strangers  # another process sees it, too
        index.remove(paths=people(100).paths)
        index.compact()
        assert index.strangers.entries == 404
    with open_index(tmp_path / "ix") as again:
        assert again.info().strangers == index.strangers


def test_embeddings_say_which_sensor_asks(tmp_path: Path) -> None:
    with make(tmp_path / "ix") as index:
        index.add(people(300))
        asked = people(12, first=1000)
        for hits, sensor in zip(index.search(asked), asked.modality.tolist()):
            for hit in hits:
                number = index.strangers.one_in(hit.similarity, Modality(sensor), hit.modality)
                assert hit.one_in == number


@pytest.mark.parametrize("enough", [True, False])
def test_every_door_says_the_same_number(
    enough: bool,
    world: server_kit.World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(strangers, "FEWEST_PEOPLE", 4 if enough else 5)  # it has four
    query = world.root / "cam3/0002/0001.jpg"
    words = ("search", "--index", world.index, "--weights", world.weights, "--image", query,
             "--modality", "infrared", "--top", 12, "--device", "cpu")  # fmt: skip
    assert run(*words, "--json", "--csv", tmp_path / "hits.csv") == 0
    shown = [hit["one_in"] for hit in json.loads(capsys.readouterr().out)[0]["hits"]]
    header, *rows = (line.split(",") for line in (tmp_path / "hits.csv").read_text().splitlines())
    cells = [row[header.index("one_in")] for row in rows]
    assert [int(cell) if cell else None for cell in cells] == shown
    with open_index(world.index) as index:
        (hits,) = Searcher(index, world.embedder).search_images([query], "infrared", top=12)
    assert [hit.one_in for hit in hits] == shown
    with server_kit.running(world) as server, server.client() as client:
        answer = server_kit.post(client, query.read_bytes(), top=12).json()
    assert [hit["one_in"] for hit in answer["hits"]] == shown
    assert run(*words) == 0
    printed = capsys.readouterr()
    if enough:
        assert len(set(shown)) > 2 and all(number >= 1 for number in shown)
        assert f"1 in {shown[0]:,}" in printed.out and "can't be said" not in printed.err
    else:
        assert set(shown) == {None} and "alike" not in printed.out
        assert f"look as alike can't be said: {strangers.TOO_FEW}." in printed.err
    assert run("index", "info", "--index", world.index) == 0
    assert (strangers.TOO_FEW in capsys.readouterr().out) is not enough
