from tfrecords_tools import prepare, releases
from tfrecords_tools.readers import vist


def test_dead_images_and_placeholders_are_counted(raw):
    photos = raw / "photos"
    (photos / "p00.jpg").unlink()
    (photos / "p01.jpg").write_bytes((photos / "p01.jpg").read_bytes()[:50])
    for number in range(10, 20):
        (photos / f"p{number}.jpg").write_bytes((photos / "p02.jpg").read_bytes())
    report = prepare.check_source("VIST DII", vist.anchorage(raw / "vist", photos))
    assert "10 pairs: Anchorage, train" in report
    assert "2 dead images of 30 opened (6.7%)" in report
    assert "11 copies of one image" in report
    assert "p00.jpg: No such file" in report
    few = prepare.check_source("VIST DII", vist.anchorage(raw / "vist", photos), limit=0.3)
    opened = int(few.split(" opened")[0].split()[-1])
    assert 2 <= opened <= 17


def test_the_table_covers_every_class():
    text = releases.table()
    for name in ("Uncorrelated", "Complementary", "Interdependent", "Illustration", "10.25835"):
        assert name in text
