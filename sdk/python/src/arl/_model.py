"""What all objects of the API have in common: typed fields, and access as a mapping.

`task.status.exit_code` and `task["status"]["exitCode"]` are the same. The keys
are the names that the API has, so that what `kubectl get -o yaml` shows can be
read off. A key that the API knows always has a value, None if the server set
none; the length, the keys and `in` speak of those that are set.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """An object of the API, or a part of one. It does not change with the server's."""

    model_config = ConfigDict(populate_by_name=True, extra="allow", use_attribute_docstrings=True)

    def _set(self) -> dict[str, Any]:
        """Are the values that are set, by their names in the API."""
        known = {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
        return {k: v for k, v in {**known, **(self.model_extra or {})}.items() if v is not None}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Leaves out what is not set, which is most."""
        return [(name, value) for name, value in super().__repr_args__() if value is not None]

    def __getitem__(self, key: str) -> Any:
        for name, field in type(self).model_fields.items():
            if key == (field.alias or name):
                return getattr(self, name)
        extra = self.model_extra or {}
        if key in extra:
            return extra[key]
        known = ", ".join(sorted(f.alias or n for n, f in type(self).model_fields.items()))
        raise KeyError(f"{key!r}: {type(self).__name__} has {known}")

    def get(self, key: str, default: Any = None) -> Any:
        """Is the value under a key of the API, or the default if none is set."""
        value = self._set().get(key)
        return default if value is None else value

    def keys(self) -> KeysView[str]:
        """Are the keys that have a value."""
        return self._set().keys()

    def values(self) -> ValuesView[Any]:
        """Are the values that are set."""
        return self._set().values()

    def items(self) -> ItemsView[str, Any]:
        """Are the keys that have a value, with it."""
        return self._set().items()

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # a mapping's, not pydantic's
        return iter(self._set())

    def __len__(self) -> int:
        return len(self._set())

    def __bool__(self) -> bool:
        return True

    def __contains__(self, key: object) -> bool:
        return key in self._set()

    def to_dict(self) -> dict[str, Any]:
        """Is the object as plain dicts, lists and texts, as the API has it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


Mapping.register(Model)
