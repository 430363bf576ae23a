//! Curves as SVG: lines over a logarithmic axis of numbers, as small as it can be.

use std::fmt::Write as _;

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// For the legend.
    pub name: &'static str,
    /// Ascending by the first, which is above 0.
    pub points: Vec<(f64, f64)>,
}

/// Curves that are looked at together.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// Of its file, without `.svg`.
    pub name: &'static str,
    /// Above.
    pub title: &'static str,
    /// What the first numbers of points are.
    pub x: &'static str,
    /// What the second ones are.
    pub y: &'static str,
    /// The curves.
    pub curves: Vec<Curve>,
}

/// Size and margins, in pixels.
const SIZE: (f64, f64) = (640.0, 400.0);
const MARGIN: (f64, f64) = (70.0, 50.0);
const COLOURS: [&str; 4] = ["#1f6f8b", "#c8553d", "#588157", "#7a5195"];
/// Lines across.
const STEPS: u32 = 5;

impl Plot {
    /// The picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let low = points().map(|point| point.0).fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE).log10();
        let high = points().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max).log10();
        let top = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
        let across = |x: f64| {
            let width = SIZE.0 - 2.0 * MARGIN.0;
            MARGIN.0 + width * (x.log10() - low) / (high - low).max(f64::EPSILON)
        };
        let down = |y: f64| SIZE.1 - MARGIN.1 - (SIZE.1 - 2.0 * MARGIN.1) * y / top;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{}\" y=\"20\" font-size=\"15\">{}</text>\n",
            SIZE.0, SIZE.1, MARGIN.0, self.title,
        );
        // Writing to a string cannot fail.
        let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
        };
        for step in 0..=STEPS {
            let y = top * f64::from(step) / f64::from(STEPS);
            text(MARGIN.0 - 6.0, down(y) + 4.0, "end", &crate::table::grouped(y));
        }
        text(MARGIN.0 - 6.0, MARGIN.1 - 14.0, "end", self.y);
        for (x, _) in self.curves.iter().flat_map(|curve| &curve.points) {
            text(across(*x), SIZE.1 - MARGIN.1 + 18.0, "middle", &crate::table::grouped(*x));
        }
        text(SIZE.0 / 2.0, SIZE.1 - 10.0, "middle", self.x);
        for step in 0..=STEPS {
            let y = down(top * f64::from(step) / f64::from(STEPS));
            let (left, right) = (MARGIN.0, SIZE.0 - MARGIN.0);
            let _ = writeln!(svg, "<path d=\"M{left} {y:.1}H{right}\" stroke=\"#ddd\"/>");
        }
        for (number, (curve, colour)) in self.curves.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let places = curve.points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), down(*y)));
            let line = places.collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
                 <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
                MARGIN.0 + 10.0,
                MARGIN.1 + 16.0 * number as f64,
                curve.name,
            );
        }
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_point_is_left_and_the_largest_on_top() {
        let curve = Curve { name: "a", points: vec![(10.0, 5.0), (1000.0, 10.0)] };
        let svg = Plot { name: "p", title: "t", x: "n", y: "ns", curves: vec![curve] }.svg();
        assert!(svg.contains("points=\"70.0,200.0 570.0,50.0\""), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
