"""Files made by hand."""

import io
import zipfile


def pdf_of(*contents: bytes, entries: bytes = b"") -> bytes:
    """A PDF by hand: one page for each content stream, which may show text in the font /F; no xref table."""
    kids = b" ".join(b"%d 0 R" % (10 + 2 * i) for i in range(len(contents)))
    objects = [
        b"1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj",
        b"2 0 obj <</Type /Pages /Count %d /Kids [%s]>> endobj" % (len(contents), kids),
        b"3 0 obj <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>> endobj",
    ]
    for i, content in enumerate(contents):
        page, stream = 10 + 2 * i, 11 + 2 * i
        objects += [
            b"%d 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R" % (page, stream)
            + b" /Resources <</Font <</F 3 0 R>>>>>> endobj",
            b"%d 0 obj <</Length %d %s>> stream\n%s\nendstream endobj"
            % (stream, len(content), entries, content),
        ]
    body, places = b"%PDF-1.4\n", []
    for thing in objects:
        places.append((int(thing.split()[0]), len(body)))
        body += thing + b"\n"
    table = b"xref\n0 1\n0000000000 65535 f \n"
    for number, place in places:
        table += b"%d 1\n%010d 00000 n \n" % (number, place)
    return body + table + b"trailer <</Root 1 0 R /Size 1000>>\nstartxref\n%d\n%%%%EOF" % len(body)


def showing(text: str) -> bytes:
    return b"BT /F 12 Tf 50 700 Td (%s) Tj ET" % text.encode("latin-1")


def zip_bomb() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", b"\0" * 50_000_000)
    return written.getvalue()
