"""A lifecycle hook of tests: an HTTP server that answers what it is told to."""
import http.server
import json
import threading

import support


class Endpoint:
    """A lifecycle hook: answers one after the other, the last for ever, and keeps what it was told.
    An answer that is an event is none: the call hangs until it is set."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                endpoint.asked.append(json.loads(self.rfile.read(
                    int(self.headers["Content-Length"]))))
                answer = endpoint.answers[0]
                if len(endpoint.answers) > 1:
                    endpoint.answers.pop(0)
                if isinstance(answer, threading.Event):
                    answer.wait(support.PATIENCE)
                    return
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
