"""How the size of a projection is measured: by plain and by mixed queries, the lower of both."""

import numpy as np

from vireid.index.local import projection


def test_the_worse_kind_of_query_counts() -> None:
    truth = np.array([[0, 10, 11], [1, 12, 13]])  # the probe itself, then its two best
    found = np.array([[0, 10, 11], [1, 12, 99]])
    probes = np.array([0, 1])
    assert projection._recall(truth, found, probes, 3) == 0.5  # the mixed query's
    assert projection._recall(truth[::-1], found[::-1], probes[::-1], 3) == 0.5  # the plain one's
    assert projection._recall(truth, truth, probes, 3) == 1.0


def test_every_second_query_is_mixed() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((40, 16)).astype(np.float16)
    probes = np.arange(0, 40, 2)
    queries = projection._queries(vectors, probes, random)
    own = vectors[probes].astype(np.float32)
    cosine = (queries * own).sum(1) / np.linalg.norm(own, axis=1)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(cosine[::2], 1, rtol=1e-5)
    assert (cosine[1::2] < 1 - 1e-4).any()
