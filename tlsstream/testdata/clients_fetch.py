"""Fetches a URL by urllib, and prints what a program that uses it learns: the exception's class and text, or how many
bytes came."""
import ssl
import sys
import urllib.request

url, ca = sys.argv[1:]
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)),
)
try:
    with opener.open(url, timeout=30) as response:
        body = response.read()
except Exception as e:
    print(type(e).__name__, e)
    sys.exit(1)
print("complete", len(body))
