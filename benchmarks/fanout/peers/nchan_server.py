"""nginx with nchan: one worker, started here; what is to be published goes to it by HTTP, as it wants it.

This process publishes, off the server's core. What is measured is nginx: its pid is said.
"""

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path

from made_events import PORT, listen, text_of

ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
CONFIG = """
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off; master_process off; pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder}; keepalive_requests 1000000000; tcp_nodelay on;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/pub/(\\d+)$ {{ nchan_publisher http; nchan_channel_id $1; nchan_message_buffer_length 1; }}
    location ~ ^/ws/(\\d+)$ {{
      nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


async def connected(port):
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)


async def main(folder):
    config = Path(folder) / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=PORT))
    with subprocess.Popen(
        [*ENDS_WITH_US, "/usr/sbin/nginx", "-c", config], stderr=subprocess.DEVNULL
    ) as nginx:
        os.sched_setaffinity(0, {1})
        reader, writer = await connected(PORT)
        print("ready", nginx.pid, flush=True)

        def publish(task, event):
            text = text_of(event)
            head = f"POST /pub/{task} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(text)}\r\n\r\n"
            writer.write((head + text).encode())

        async def drop_answers():
            while await reader.read(1 << 16):
                pass
            nginx.kill()

        await asyncio.gather(drop_answers(), listen(publish))


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))
