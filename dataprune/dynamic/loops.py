"""What a loop of one's own needs besides a policy: batches that know their ids."""

from typing import Any


class WithIds:
    """A map-style data set whose items also say their id, which is their index.

    A tuple (x, y) becomes (x, y, id), a dict gets the key "id", anything else becomes (item, id).
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        item = self.dataset[index]
        if isinstance(item, dict):
            return item | {"id": index}
        return (*item, index) if isinstance(item, tuple | list) else (item, index)
