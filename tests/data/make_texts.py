"""Make texts.tsv from the source archive of vaderSentiment: python make_texts.py vaderSentiment-3.3.2.tar.gz

The archive: pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
"""

import hashlib
import io
import re
import sys
import tarfile
from pathlib import Path

INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
CLEAR = 1.5  # mean rating of at least this size on the scale from -4 to 4
LENGTH = range(20, 101)
EACH = 1000


def rated(archive: Path) -> list[tuple[float, str]]:
    """Mean rating and sentence of every line of the inner file."""
    with tarfile.open(archive) as outer:
        inner = outer.extractfile(INNER)
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as nested:
            file = nested.extractfile(FILE)
            assert file is not None
            text = file.read().decode("utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line.count("\t") == 2]
    return [(float(rating), " ".join(sentence.split())) for _, rating, sentence in rows]


def chosen(rows: list[tuple[float, str]], sign: int) -> list[str]:
    """The first EACH clear sentences of one sign in the order of their hashes."""
    clear = {text for rating, text in rows if sign * rating >= CLEAR and len(text) in LENGTH}
    fit = [text for text in clear if not re.search(r"@|https?:", text)]
    return sorted(fit, key=lambda text: hashlib.sha256(text.encode()).hexdigest())[:EACH]


def main() -> None:
    rows = rated(Path(sys.argv[1]))
    pairs = zip(chosen(rows, -1), chosen(rows, 1), strict=True)
    lines = [f"{label}\t{text}\n" for pair in pairs for label, text in enumerate(pair)]
    Path(__file__).with_name("texts.tsv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
