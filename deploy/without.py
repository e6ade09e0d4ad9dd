#!/usr/bin/env python3
"""A CloudFormation template as moto can take it: `without.py TEMPLATE`.

Says on standard error which resource types moto lacks, and what is left out because it refers to them; prints the
rest as JSON. Runs in an interpreter that has moto and PyYAML.
"""

import json
import re
import sys

import yaml
from moto.cloudformation import parsing


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def short_form(loader, tag, node):
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if tag == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", short_form)


def refers_to(node, gone, exports):
    """Whether something in a value refers to a resource that is gone, or imports what one exported."""
    if isinstance(node, list):
        return any(refers_to(item, gone, exports) for item in node)
    if not isinstance(node, dict):
        return False
    for key, value in node.items():
        if key == "Ref" and value in gone:
            return True
        if key == "Fn::GetAtt" and (value if isinstance(value, list) else value.split("."))[0] in gone:
            return True
        if key == "Fn::Sub":
            text = value if isinstance(value, str) else value[0]
            if any(name.split(".")[0] in gone for name in re.findall(r"\$\{([^!}]+)\}", text)):
                return True
        if key == "Fn::ImportValue" and any(json.dumps(value).rstrip('"} ').endswith(end) for end in exports):
            return True
        if refers_to(value, gone, exports):
            return True
    return False


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        template = yaml.load(file, Loader)
    resources = template["Resources"]
    lacking = {}
    for name, resource in resources.items():
        kind = resource["Type"]
        if kind in parsing.NULL_MODELS or parsing.resource_class_from_type(kind) is None:
            lacking.setdefault(kind, []).append(name)
    for kind, names in sorted(lacking.items()):
        print(f"moto lacks {kind} ({', '.join(names)})", file=sys.stderr)
    gone = {name for names in lacking.values() for name in names}
    # What such a resource of the environment's stack exported: the ends of the names of its exports.
    exports = ["-ServiceDiscoveryNamespaceID"]
    for name in gone:
        del resources[name]
    for name, resource in resources.items():
        for key in [key for key, value in resource.get("Properties", {}).items() if refers_to(value, gone, exports)]:
            del resource["Properties"][key]
            print(f"left out {name}.{key}", file=sys.stderr)
        waits = resource.get("DependsOn")
        if waits:
            left = [one for one in ([waits] if isinstance(waits, str) else waits) if one not in gone]
            resource["DependsOn"] = left
            if not left:
                del resource["DependsOn"]
    for name in [name for name, output in template.get("Outputs", {}).items() if refers_to(output, gone, exports)]:
        del template["Outputs"][name]
        print(f"left out the output {name}", file=sys.stderr)
    json.dump(template, sys.stdout, indent=1, default=str)


main()
