use api::LogStream;
use futures_util::stream;
use jiff::Timestamp;
use tokio::time::sleep;

use super::*;

fn line(second: i64, text: &str) -> LogLine {
    LogLine {
        time: Timestamp::from_second(second).unwrap(),
        from: String::new(),
        action: String::new(),
        stream: LogStream::Stdout,
        text: text.to_owned(),
    }
}

/// A server that says this, each word after so many milliseconds. Then its answer ends, or it never does.
fn part(said: Vec<(u64, Said)>, ends: bool) -> Part {
    let words = stream::iter(said).then(|(after, said)| async move {
        sleep(Duration::from_millis(after)).await;
        said
    });
    Part::of(if ends { words.boxed() } else { words.chain(stream::pending()).boxed() })
}

fn lines(lines: &[(i64, &str)]) -> Said {
    Said::Lines(lines.iter().map(|(second, text)| line(*second, text)).collect())
}

async fn all(mut merge: Merge) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(lines) = merge.next().await {
        texts.extend(lines.into_iter().map(|line| line.text));
    }
    texts
}

#[tokio::test(start_paused = true)]
async fn the_lines_of_two_servers_come_in_the_order_of_time() {
    let one = part(vec![(0, lines(&[(1, "a"), (4, "d")])), (500, lines(&[(5, "e")]))], true);
    let other = part(vec![(900, lines(&[(2, "b"), (3, "c")])), (900, lines(&[(6, "f")]))], true);
    assert_eq!(all(Merge::new(vec![one, other], false)).await, ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stalls_holds_the_others_up_for_a_limit_only_and_is_named() {
    let begun = Instant::now();
    let silent = part(vec![(0, lines(&[(1, "a")]))], false);
    let other = part(vec![(0, lines(&[(2, "b")]))], true);
    let texts = all(Merge::new(vec![silent, other, Part::missing("server x does not answer")], false)).await;
    assert_eq!(texts[..2], ["a", "b"]);
    assert!(texts[2..].iter().any(|text| text.contains("too slowly")), "{texts:?}");
    assert!(texts[2..].iter().any(|text| text.starts_with("server x does not answer; the lines")), "{texts:?}");
    assert!(begun.elapsed() <= PATIENCE + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_trickles_is_given_up_after_some_time_in_all() {
    let begun = Instant::now();
    let trickles = part((0..1000).map(|second| (4000, lines(&[(second, "x")]))).collect(), true);
    let texts = all(Merge::new(vec![trickles, part(vec![(0, lines(&[(2000, "last")]))], true)], false)).await;
    assert!(texts.contains(&"last".to_owned()), "{texts:?}");
    assert!(begun.elapsed() <= IN_ALL + PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_follower_gets_new_lines_at_once_although_another_server_is_silent() {
    let silent = part(vec![(0, Said::Quiet)], false);
    let own = part(vec![(0, lines(&[(1, "a")])), (0, Said::Quiet), (3000, lines(&[(2, "b")]))], true);
    let mut merge = Merge::new(vec![silent, Part { is_own: true, ..own }], true);
    assert_eq!(merge.next().await.unwrap(), [line(1, "a")]);
    let begun = Instant::now();
    assert_eq!(merge.next().await.unwrap(), [line(2, "b")]);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // This server's part ends when the workflow is over. The silent one does not keep the answer open.
    assert_eq!(merge.next().await, None);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_server_does_not_keep_another_ones_lines_away() {
    let flood = Part::of(stream::iter((0..10_000).map(|n| lines(&[(n, "flood")]))).chain(stream::pending()).boxed());
    let mut flood = flood;
    flood.is_caught_up = true;
    let mut quiet = part(vec![(0, lines(&[(5, "here")]))], false);
    quiet.is_caught_up = true;
    let mut merge = Merge::new(vec![flood, quiet], true);
    let mut seen = 0;
    loop {
        let next = merge.next().await.unwrap();
        seen += next.len();
        if next.iter().any(|line| line.text == "here") {
            break;
        }
    }
    assert!(seen < 20, "{seen} lines came before it");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_news_shows_now_and_then_that_it_is_there() {
    let mut merge = Merge::new(vec![part(vec![(0, Said::Quiet)], false)], true);
    let begun = Instant::now();
    assert_eq!(merge.next().await.unwrap(), []);
    assert_eq!(begun.elapsed().as_secs(), HEARTBEAT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gets_lines_later_joins_and_the_end_waits_for_those_that_may() {
    let first = part(vec![(0, lines(&[(1, "one")])), (0, Said::Quiet), (3000, lines(&[(5, "five")]))], true);
    let later = stream::iter([2000]).then(|after| async move {
        sleep(Duration::from_millis(after)).await;
        part(vec![(0, lines(&[(3, "three")])), (0, Said::Quiet), (5000, lines(&[(9, "nine")]))], true)
    });
    let merge = Merge::new(vec![first], true).joined_by(later.boxed());
    assert_eq!(all(merge).await, ["one", "three", "five", "nine"]);
    let never = Merge::new(vec![part(vec![(0, lines(&[(1, "one")]))], true)], true).joined_by(stream::pending().boxed());
    assert!(tokio::time::timeout(Duration::from_secs(3600), all(never)).await.is_err());
}
