"""Reads one event as a service in Python would: with the variables of `.env.kafka` and nothing else.

Usage: read_event.py TOPIC KEY
"""

import logging
import os
import struct
import sys
import time

from kafka import KafkaConsumer


def main():
    # Why a broker refuses is told in the log only.
    logging.basicConfig(level=logging.WARNING)
    topic, key = sys.argv[1], sys.argv[2].encode()
    env = {name[len("CARACAL_KAFKA_"):]: value for name, value in os.environ.items()}
    with open(env["SASL_PASSWORD_FILE"], encoding="utf-8") as file:
        password = file.read()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=env["BOOTSTRAP"].split(","),
        security_protocol="SASL_SSL",
        ssl_check_hostname=True,
        ssl_cafile=env["TLS_CA_FILE"],
        ssl_certfile=env["TLS_CERTIFICATE_FILE"],
        ssl_keyfile=env["TLS_KEY_FILE"],
        sasl_mechanism=env["SASL_MECHANISM"],
        sasl_plain_username=env["SASL_USERNAME"],
        sasl_plain_password=password,
        group_id=f"caracal-judge-python-{os.getpid()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        bootstrap_timeout_ms=60000,
    )
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for records in consumer.poll(timeout_ms=1000).values():
            for record in records:
                if record.key == key and record.value:
                    magic, schema = struct.unpack(">bI", record.value[:5])
                    print(f"read an event of {record.key.decode()}, schema {schema}, offset {record.offset}")
                    sys.exit(0 if magic == 0 and schema > 0 else "it has no schema id")
    sys.exit(f"no event of {key.decode()} came within 90 s")


main()
