"""Hold Envoy configurations against Envoy's own protobuf messages. Run by an interpreter that has xds-protos.

    python protobuf_judge.py FILE...        prints, for each, "ok" or what is wrong

No package has the messages of the two contrib providers, so they are declared here: envoyproxy/data-plane-api,
contrib/envoy/extensions/private_key_providers/{qat,cryptomb}/v3alpha, two fields each.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def pool() -> Any:
    descriptor_pb2 = importlib.import_module("google.protobuf.descriptor_pb2")
    descriptor_pool = importlib.import_module("google.protobuf.descriptor_pool")

    known = descriptor_pool.Default()
    field = descriptor_pb2.FieldDescriptorProto
    fields = (
        ("private_key", 1, ".envoy.config.core.v3.DataSource"),
        ("poll_delay", 2, ".google.protobuf.Duration"),
    )
    for directory, message in (("qat", "QatPrivateKeyMethodConfig"), ("cryptomb", "CryptoMbPrivateKeyMethodConfig")):
        package = f"envoy.extensions.private_key_providers.{directory}.v3alpha"
        declared = descriptor_pb2.FileDescriptorProto(
            name=f"{directory}.proto",
            package=package,
            syntax="proto3",
            dependency=["envoy/config/core/v3/base.proto", "google/protobuf/duration.proto"],
        )
        body = declared.message_type.add(name=message)
        for name, number, kind in fields:
            body.field.add(
                name=name, number=number, label=field.LABEL_OPTIONAL, type=field.TYPE_MESSAGE, type_name=kind
            )
        known.AddSerializedFile(declared.SerializeToString())
    return known


MESSAGES = (
    "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.filters.http.router.v3.router_pb2",
)
"""Importing them is what makes them known."""


def main() -> int:
    import yaml

    json_format = importlib.import_module("google.protobuf.json_format")

    bootstrap = importlib.import_module("envoy.config.bootstrap.v3.bootstrap_pb2")
    for name in MESSAGES:
        importlib.import_module(name)
    known = pool()
    for path in sys.argv[1:]:
        with open(path) as f:
            document = yaml.safe_load(f)
        try:
            json_format.ParseDict(document, bootstrap.Bootstrap(), descriptor_pool=known)
        except json_format.ParseError as e:
            print(str(e).replace("\n", " "))
        else:
            print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
