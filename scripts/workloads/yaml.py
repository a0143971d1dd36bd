"""Writes Python values as block-style YAML: as much of it as Kubernetes manifests need, and always the same bytes."""

import json
import re

PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./@-]|:(?=[A-Za-z0-9]))*\Z|[0-9]+(?:m|h|Mi|Gi)\Z")
RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def stream(documents, comment):
    """A YAML stream of several documents, with a comment at its head; it can be concatenated with others."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.strip().splitlines())
    return head + "".join("---\n" + "\n".join(lines(document, 0)) + "\n" for document in documents)


def lines(value, indent):
    """The lines of a mapping or a list at an indentation."""
    pad = " " * indent
    if isinstance(value, dict):
        for key, item in value.items():
            yield from entry(f"{pad}{scalar(key)}:", item, indent)
    else:
        for item in value:
            if isinstance(item, (dict, list)) and item:
                first, *rest = lines(item, indent + 2)
                yield f"{pad}- {first[indent + 2:]}"
                yield from rest
            else:
                yield f"{pad}- {scalar(item)}"


def entry(head, item, indent):
    """The lines of one key of a mapping and what it holds."""
    if isinstance(item, dict) and item:
        yield head
        yield from lines(item, indent + 2)
    elif isinstance(item, list) and item:
        yield head
        yield from lines(item, indent)
    else:
        yield f"{head} {scalar(item)}"


def scalar(value):
    """One value on one line, quoted where YAML would read something else."""
    if isinstance(value, str):
        if PLAIN.match(value) and value.lower() not in RESERVED:
            return value
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
