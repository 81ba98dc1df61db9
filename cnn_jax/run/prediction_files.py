"""Predictions as files that grow image by image: CSV, JSON, COCO's JSON, masks as PNG."""

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image

from cnn_jax.data import reading
from cnn_jax.data.decode import image_size
from cnn_jax.run.answers import Classified, Segmented
from cnn_jax.run.detect import Found

# What the rows of an answer have.
COLUMNS: dict[type, tuple[str, ...]] = {
    Classified: ("rank", "class", "label", "probability"),
    Segmented: ("class", "label", "share"),
    Found: ("class", "label", "score", "left", "top", "right", "bottom"),
}


class Growing:
    """A file that is written while predictions come, and takes its name when all is written.

    Until then it is called NAME.part: what is called NAME is whole.
    """

    def __init__(self, path: Path):
        """
        Args:
            path: path of the file; its directory is created if missing.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = path.with_name(path.name + ".part")
        self._file = self._partial.open("w", encoding="utf-8", errors="surrogateescape", newline="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self.finish()
        if error is None:
            self._partial.replace(self.path)

    def add(self, image: str, answer: Any, names: Sequence[str]) -> None:
        """Adds the prediction for an image, or the error in its place.

        Args:
            image: path of the image.
            answer: the prediction, or an exception.
            names: K names of classes.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """Writes what comes at the end."""


class AsCsv(Growing):
    """Rows: the best classes of an image, one for each class of its pixels, one for each box."""

    def __init__(self, path: Path, columns: Sequence[str], *, top: int = 5):
        """
        Args:
            path: path of the file.
            columns: of COLUMNS, those of the network's answers.
            top: number of classes of an image.
        """
        super().__init__(path)
        self._top, self._columns = top, columns
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(["image", *columns])

    def add(self, image: str, answer: Any, names: Sequence[str]) -> None:
        if isinstance(answer, BaseException):
            return
        for row in rows_of(answer, names, self._top):
            self._writer.writerow([image, *(row[name] for name in self._columns)])


class AsJson(Growing):
    """A list with an object for each image; one that cannot be read has its error."""

    def __init__(self, path: Path, *, top: int = 5):
        """
        Args:
            path: path of the file; of one called .jsonl each line is an object.
            top: number of classes of an image.
        """
        super().__init__(path)
        self._top, self._lines, self._any = top, path.suffix == ".jsonl", False

    def add(self, image: str, answer: Any, names: Sequence[str]) -> None:
        content: dict[str, Any] = {"image": image}
        if isinstance(answer, BaseException):
            content["error"] = " ".join(str(answer).split())
        else:
            kind = "boxes" if isinstance(answer, Found) else "classes"
            content[kind] = list(rows_of(answer, names, self._top))
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
        start = "" if self._lines else ",\n" if self._any else "[\n"
        self._file.write(start + text.decode("utf-8", "surrogateescape"))
        if self._lines:
            self._file.write("\n")
        self._any = True

    def finish(self) -> None:
        if not self._lines:
            self._file.write("\n]\n" if self._any else "[]\n")


class AsCoco(Growing):
    """Boxes as COCO has them: images, categories and annotations with a score each.

    With the annotations of a data set, its ids are taken, and the file is a list of results, as
    pycocotools' `loadRes` reads it.
    """

    def __init__(
        self,
        path: Path,
        class_names: Sequence[str],
        *,
        annotations: Path | None = None,
        images: Sequence[str] = (),
    ):
        """
        Args:
            path: path of the file.
            class_names: K names.
            annotations: COCO's JSON of the images that are predicted; None for ids of our own.
            images: paths of these images.

        Raises:
            ValueError: it is none, or lacks a class of the network or one of the images.
        """
        self._ids: dict[str, Any] = {}
        self._categories = list(range(1, len(class_names) + 1))
        self._given = annotations is not None
        if annotations is not None:
            self._ids, self._categories = _ids_in(annotations, class_names)
            for image in images:
                self._id_of(image)
        super().__init__(path)
        self._names = class_names
        self._images: list[dict[str, Any]] = []
        self._count = 0
        self._file.write("[" if self._given else '{"annotations": [')

    def add(self, image: str, answer: Any, names: Sequence[str]) -> None:
        if isinstance(answer, BaseException):
            return
        if not isinstance(answer, Found):
            raise ValueError("COCO's JSON holds boxes, and the network finds none.")
        number: Any = len(self._images) + 1
        if self._given:
            number = self._id_of(image)
        else:
            width, height = _size(image)
            self._images.append(
                {"id": number, "file_name": image, "width": width, "height": height}
            )
        for box, score, label in zip(answer.boxes, answer.scores, answer.labels, strict=True):
            left, top, right, bottom = (float(side) for side in box)
            found: dict[str, Any] = {
                "image_id": number,
                "category_id": self._categories[int(label)],
                "bbox": [left, top, right - left, bottom - top],
                "score": float(score),
            }
            if not self._given:
                area = (right - left) * (bottom - top)
                found = {"id": self._count + 1, **found, "area": area, "iscrowd": 0}
            self._file.write((",\n" if self._count else "\n") + json.dumps(found))
            self._count += 1

    def finish(self) -> None:
        if self._given:
            self._file.write("\n]\n")
            return
        pairs = zip(self._categories, self._names, strict=True)
        categories = [{"id": number, "name": name} for number, name in pairs]
        rest = {"images": self._images, "categories": categories}
        text = json.dumps(rest, ensure_ascii=False)
        self._file.write("\n],\n" + text[1:] + "\n")

    def _id_of(self, image: str) -> Any:
        parts = Path(image).parts
        for i in range(len(parts)):  # the longest name first: a/b/c.jpg, b/c.jpg, c.jpg
            if (name := "/".join(parts[i:])) in self._ids:
                return self._ids[name]
        raise ValueError(
            f"{image} is no image of the annotations, `coco_ids`: wanted one that they name."
        )


def _ids_in(path: Path, class_names: Sequence[str]) -> tuple[dict[str, Any], list[int]]:
    content = reading.read_json(path)
    try:
        images = {str(each["file_name"]): each["id"] for each in content["images"]}
        named = {str(each["name"]): each["id"] for each in content["categories"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} has no images and categories as COCO has them.") from error
    for name in class_names:
        if name not in named:
            raise ValueError(
                f"{path} has no category {name!r}, which the network finds: wanted the "
                "annotations of its data."
            )
    return images, [named[name] for name in class_names]


def _size(image: str) -> tuple[int, int]:
    """(width, height) of an image, upright as its boxes are."""
    height, width = image_size(Path(image), upright=True)
    return width, height


class AsMasks:
    """The classes of the pixels of each image as a PNG, whose values are the classes."""

    def __init__(self, directory: Path, names: Mapping[str, str]):
        """
        Args:
            directory: directory of the files, created if missing.
            names: image -> name for its file.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.path, self._names = directory, names

    def add(self, image: str, answer: Any, names: Sequence[str]) -> None:
        """Writes the mask of an image; one that cannot be read has none."""
        if isinstance(answer, BaseException):
            return
        if not isinstance(answer, Segmented):
            raise ValueError("Masks are of networks for segmentation, and this is none.")
        from cnn_jax.analysis import figure_files, segmentation_figures  # late: Matplotlib

        mask = Image.fromarray(answer.label)
        mask.putpalette(segmentation_figures.palette(len(names)).ravel().tolist())
        written = self.path / figure_files.named_after(self._names[image], ".png")
        mask.save(written, "PNG")


def rows_of(answer: Any, names: Sequence[str], top: int) -> Iterator[dict[str, Any]]:
    """The rows of a prediction, with numbers as they are.

    Raises:
        ValueError: it is that of a task that a user has added.
    """
    if isinstance(answer, Classified):
        best = answer.probabilities.argsort()[::-1][:top]
        for rank, index in enumerate(best, 1):
            share = _number(answer.probabilities[index])
            yield {"rank": rank, "class": names[index], "label": int(index), "probability": share}
    elif isinstance(answer, Segmented):
        counts = np.bincount(answer.label.ravel(), minlength=len(names))
        for index in np.argsort(-counts, kind="stable"):
            if counts[index]:
                share = float(counts[index] / answer.label.size)
                yield {"class": names[index], "label": int(index), "share": share}
    elif isinstance(answer, Found):
        for box, score, label in zip(answer.boxes, answer.scores, answer.labels, strict=True):
            sides = dict(zip(("left", "top", "right", "bottom"), map(_number, box), strict=True))
            yield {"class": names[label], "label": int(label), "score": _number(score), **sides}
    else:
        raise ValueError("The predictions of this task have no rows: use `cnn_jax.run` from code.")


def _number(value: Any) -> float:
    """A float32 in the digits that it has: 0.1 and not 0.10000000149."""
    return float(str(np.float32(value)))


@contextlib.contextmanager
def all_open(files: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Within the block the files are open; they take their names if it ends without an error."""
    with contextlib.ExitStack() as stack:
        for file in files:
            if isinstance(file, Growing):
                stack.enter_context(file)
        yield files
