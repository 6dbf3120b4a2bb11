"""Dresses a person: skin, clothes, hair and things carried become one mesh."""

from __future__ import annotations

from vireid.synthetic.people.carried import carried
from vireid.synthetic.people.garments import clothes
from vireid.synthetic.people.headwear import hair, hat
from vireid.synthetic.people.identity import Person
from vireid.synthetic.people.mesh import Mesh
from vireid.synthetic.people.tailor import Tailor


def dress(person: Person) -> Mesh:
    """The mesh of a person at rest."""
    tailor = Tailor(person)
    for put_on in (clothes, hair, hat, carried):
        put_on(tailor)
    return tailor.mesh()
