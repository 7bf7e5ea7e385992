"""Image and video files to enhance, and the paths of their results."""

import glob
import importlib.util
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from facesr import images
from facesr.enhance import stores, video_streams
from facesr.enhance.stores import Place, StorePath
from facesr.errors import DataError, ParamsError
from facesr.images import photos
from facesr.images.photos import Format

logger = logging.getLogger(__name__)

# By file name; those beside `photos.FORMATS` are kept where an image comes with them.
ENDINGS: dict[str, Format] = {
    **photos.FORMATS,
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".jif": "jpeg",
    ".apng": "png",
}
# What desktops and file systems leave behind on every disk.
_SYSTEM_FILES = frozenset(
    {
        ".ds_store",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",
        "@eadir",
        "$recycle.bin",
        "system volume information",
    }
)
# Beside those that Pillow knows.
_OTHER_MEDIA = video_streams.SUFFIXES | {".heic", ".heif", ".jxl", ".svg"}
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class Job:
    """One image or video file and the path of its result."""

    source: Place
    target: Place
    is_video: bool = False


def plan(
    inputs: Sequence[str],
    output: Place,
    file_format: Format | None = None,
    *,
    is_folder: bool = False,
) -> list[Job]:
    """Find images and videos and name their results; log what else a folder holds.

    The name of a result depends on its image alone: if the ending changes, the new one is added to
    the old one.

    Args:
        inputs: Files, folders, patterns and addresses in an object store; folders are searched
            recursively.
        output: A file if its name ends as that of a result and there is one input, else a folder in
            which the folders of the inputs are kept.
        file_format: Format of the images' results; None keeps that of each image.
        is_folder: `output` is meant as a folder, whatever its name.

    Raises:
        DataError: An input does not exist, cannot be read, or holds no image.
        ParamsError: A result would be written among or onto the inputs, two would share a name, or
            the output has the name of a file that is not written.
    """
    paths = [path for name in inputs for path in _expand(name)]
    folders = [path for path in paths if path.is_dir()]
    found: list[tuple[Place, PurePath]] = []
    for path in paths:
        if path not in folders:
            found.append((path, PurePath(path.name)))
            continue
        if _lies_in(output, path):
            raise ParamsError(
                f"{output} lies inside of {path}, whose images are read. Name a folder beside it."
            )
        # Of several folders each keeps its name, as with cp.
        below = PurePath(path.resolve().name) if len(folders) > 1 else PurePath()
        found += [(path / inside, below / inside) for inside in _images(path)]
    if not found:
        raise DataError(f"{', '.join(inputs)}: no image there. Name files, folders or patterns.")
    videos = {source for source, _ in found if _is_video(source)}
    single = paths == [found[0][0]]
    if videos and single:
        is_file = not is_folder and _names_video(output)
    else:
        is_file = not is_folder and _names_file(output, file_format, single=single)
    if is_file and len(found) > 1:
        raise ParamsError(f"{len(found)} files do not fit into {output}. Name a folder.")
    if not is_file and isinstance(output, Path) and output.exists() and not output.is_dir():
        raise ParamsError(f"{output} is not a folder. Choose another.")
    jobs: dict[Place, Job] = {}
    for source, inside in found:
        is_video = source in videos
        if not is_video:
            renamed = _renamed(inside, file_format)
        elif inside.suffix.lower() in video_streams.CONTAINERS:
            renamed = inside
        else:
            renamed = inside.with_name(f"{inside.name}.mkv")
        target = output if is_file else output / renamed
        if jobs.setdefault(target, Job(source, target, is_video)).source != source:
            raise ParamsError(
                f"{source} and {jobs[target].source} would both be written to {target}. "
                "Enhance them one after the other, into different folders."
            )
        if target.resolve() == source.resolve():
            raise ParamsError(f"{source} would be written onto itself. Choose another folder.")
    return list(jobs.values())


def _is_video(source: Place) -> bool:
    """Return whether a file is a video, by its name, else by its content."""
    ending = source.suffix.lower()
    if ending in video_streams.SUFFIXES:
        return True
    if ending in Image.registered_extensions() or not isinstance(source, Path):
        return False
    return video_streams.is_video(source)


def _names_video(output: Place) -> bool:
    """Return whether the output is a file for a video; raise ParamsError for another file."""
    if not output.suffix or output.is_dir():
        return False
    if output.suffix.lower() not in video_streams.CONTAINERS:
        raise ParamsError(
            f"{output} must end in {', '.join(video_streams.CONTAINERS)}, or in / to be a folder."
        )
    return True


def _names_file(output: Place, file_format: Format | None, *, single: bool) -> bool:
    """Return whether the output is a file; raise ParamsError for one of another format."""
    ending = output.suffix.lower()
    if not ending or output.is_dir():
        return False
    if own := photos.FORMATS.get(ending):
        if file_format not in (None, own):
            raise ParamsError(f"{output} is no {file_format} file. Remove --format.")
        return True
    if single or ending in Image.registered_extensions() or ending in _OTHER_MEDIA:
        raise ParamsError(
            f"{output} must end in {', '.join(photos.FORMATS)}, or in / to be a folder."
        )
    return False


def _expand(name: str) -> list[Place]:
    """Return the paths of a pattern that the shell has not expanded, else the path itself."""
    place = stores.parse(name)
    if place.exists():
        if isinstance(place, Path) and (kind := _special_kind(place)):
            raise DataError(
                f"{place} is a {kind}. Name a file, or pipe the image into: facesr enhance -"
            )
        return [place]
    if glob.has_magic(name) and isinstance(place, Path):
        # Path.glob takes no absolute pattern.
        return [Path(each) for each in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207
    raise DataError(f"{place} does not exist. Check the path.")


def _lies_in(output: Place, folder: Place) -> bool:
    if isinstance(output, Path) and isinstance(folder, Path):
        return output.resolve().is_relative_to(folder.resolve())
    return f"{output}/".startswith(f"{folder}/")


def _images(folder: Place) -> list[PurePath]:
    """Return the paths below a folder, with videos on this machine if PyAV is installed.

    Other files are logged, except for the system's own; unreadable folders raise DataError.
    """
    endings = images.SUFFIXES
    if isinstance(folder, Path) and importlib.util.find_spec("av"):
        endings = endings | video_streams.SUFFIXES
    found: list[PurePath] = []
    passed_over: dict[str, list[str]] = {}
    for inside, kind in _walk(folder):
        if not kind and inside.suffix.lower() in endings:
            found.append(inside)
        else:
            kind = kind or inside.suffix.lower() or "without an ending"
            passed_over.setdefault(kind, []).append(str(inside))
    if passed_over:
        listed = "; ".join(
            f"{kind} ({_listed(names)})" for kind, names in sorted(passed_over.items())
        )
        count = sum(map(len, passed_over.values()))
        logger.warning(
            "%s: %d passed over: %s. JPEG, PNG, WebP, TIFF, GIF, BMP and videos are taken.",
            folder,
            count,
            listed,
        )
    return sorted(found)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _walk(folder: Place) -> Iterator[tuple[PurePath, str]]:
    """Yield paths below a folder, with the kind of those that are no ordinary files."""
    if isinstance(folder, StorePath):
        for inside in folder.find():
            if not any(map(_is_of_system, inside.parts)):
                yield inside, "hidden" if any(part.startswith(".") for part in inside.parts) else ""
        return

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}).") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        below = Path(parent).relative_to(folder)
        folders[:] = sorted(name for name in folders if not _is_of_system(name))
        for name in folders:
            if name.startswith("."):
                yield below / name, "hidden"
            elif Path(parent, name).is_symlink():
                yield below / name, "link to a folder"
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(names):
            if name.startswith(".") and not _is_of_system(name):
                yield below / name, "hidden"
            elif not _is_of_system(name):
                yield below / name, _special_kind(Path(parent, name))


def _is_of_system(name: str) -> bool:
    # macOS keeps what other file systems cannot hold in ._NAME beside each file.
    return name.startswith("._") or name.lower() in _SYSTEM_FILES


def _special_kind(path: Path) -> str:
    """Return the kind of a path that is neither a file nor a folder; opening it could block."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""  # said when it is read
    kinds = {stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return kinds.get(stat.S_IFMT(mode), "device")


def _renamed(inside: PurePath, file_format: Format | None) -> PurePath:
    """Return the name of a result, with an added ending for another format."""
    own = ENDINGS.get(inside.suffix.lower())
    if own and file_format in (None, own):
        return inside
    endings = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif"}
    written = file_format or ("jpeg" if inside.suffix.lower() == ".mpo" else "png")
    return inside.with_name(inside.name + endings[written])
