"""Dresses a person: skin, clothes, hair and things carried become one mesh."""

from __future__ import annotations

from vireid.synthetic.carried import carried
from vireid.synthetic.garments import clothes
from vireid.synthetic.headwear import hair, hat
from vireid.synthetic.identity import Person
from vireid.synthetic.mesh import Mesh
from vireid.synthetic.tailor import Tailor


def dress(person: Person) -> Mesh:
    """The mesh of a person at rest."""
    tailor = Tailor(person)
    for put_on in (clothes, hair, hat, carried):
        put_on(tailor)
    return tailor.mesh()
