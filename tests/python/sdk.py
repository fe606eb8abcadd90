"""Sends and receives events with Python's CloudEvents SDK.

sdk.py send URL                 sends three events, fails if one is not accepted
sdk.py receive PORT_FILE OUTPUT listens on a free port and writes a line for each event
"""

import http.server
import os
import sys
import urllib.request

from cloudevents.v1.conversion import to_binary, to_structured
from cloudevents.v1.http import CloudEvent, from_http


def send(url):
    def attributes(kind, **more):
        return {"id": kind, "source": "/python", "type": f"test.{kind}", **more}

    text = {"subject": "a b é", "datacontenttype": "application/json"}
    messages = [
        to_binary(CloudEvent(attributes("binary", **text), {"value": 1})),
        to_structured(CloudEvent(attributes("structured", **text), {"value": 2})),
        to_binary(
            CloudEvent(
                {**attributes("bytes", datacontenttype="application/octet-stream"), "id": "binary-bytes"}, b"\x00\xff"
            )
        ),
    ]
    for headers, body in messages:
        encoded = {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}
        request = urllib.request.Request(url, data=body, headers=encoded, method="POST")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 202, answer.status


def receive(port_file, output):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            raw = {name.lower(): value for name, value in self.headers.items()}
            structured = raw.get("content-type", "").startswith("application/cloudevents")
            unmarshal = None if structured or raw.get("content-type") == "application/json" else lambda data: data
            event = from_http(raw, body, data_unmarshaller=unmarshal)
            subject = event.get("subject")
            if subject is not None:
                # The SDK does not percent-decode headers, as the HTTP binding wants it.
                subject = urllib.request.unquote(subject.encode("latin-1").decode("utf-8"))
            data = event.data if isinstance(event.data, bytes) else str(event.data).replace("'", '"')
            with open(output, "a", encoding="utf-8") as lines:
                lines.write(
                    f"{event['id']} {event['source']} {event['type']} {event['datacontenttype']} {data} subject={subject}\n"
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    unfinished = f"{port_file}.unfinished"
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(f"{server.server_address[1]}\n")
    os.rename(unfinished, port_file)
    server.serve_forever()


if sys.argv[1] == "send":
    send(sys.argv[2])
else:
    receive(sys.argv[2], sys.argv[3])
