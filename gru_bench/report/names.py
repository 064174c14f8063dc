"""Names of files and folders from texts that anybody may have written."""

import hashlib
import re
import unicodedata

LONGEST = 80
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Windows opens a device under these."""


def safe_name(text: str) -> str:
    """A name for one file or folder, which stays in the folder that it is put into.

    Letters, digits, ``-``, ``_`` and single dots within are kept, so that ordinary names stay as they are; anything
    else becomes ``-`` and, as whatever else was changed, a digest at the end that keeps different names different.
    """
    name = re.sub(r"[^\w.-]|(?<=\.)\.+", "-", unicodedata.normalize("NFC", text))
    name = name.strip(".-") if not re.fullmatch(r"[\w].*[\w-]|[\w]", name) else name
    if name and name == text and len(name) <= LONGEST and not RESERVED.fullmatch(name):
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    if RESERVED.fullmatch(name):
        return f"_{name}-{digest}"
    return f"{name[: LONGEST - 9].strip('.-') or 'name'}-{digest}"
