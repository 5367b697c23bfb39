package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// The plot has both axes in powers of ten, so that a straight line of one in
// one is "as many times slower as there are objects".
const (
	plotWidth, plotHeight = 640, 400
	plotLeft, plotBottom  = 70, 50
	plotTop, plotRight    = 20, 190
)

// curve is one line of the plot.
type curve struct {
	name, color string
	value       func(result) time.Duration
	where       string
}

var curves = []curve{
	{"server ready, from log", "#c0392b", func(r result) time.Duration { return r.ready }, inLog},
	{"server ready, from state", "#e08e0b", func(r result) time.Duration { return r.ready }, inState},
	{"database open, from log", "#1f618d", func(r result) time.Duration { return r.open }, inLog},
	{"database open, from state", "#27ae60", func(r result) time.Duration { return r.open }, inState},
}

// writePlot draws time against the number of objects.
func writePlot(name string, results []result) error {
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n", plotWidth, plotHeight)
	p := frame(results)
	p.grid(&svg)
	for i, c := range curves {
		p.draw(&svg, c, results, i)
	}
	svg.WriteString("</svg>\n")
	if err := os.WriteFile(name, []byte(svg.String()), 0o644); err != nil {
		return fmt.Errorf("draw the plot: %w", err)
	}
	return nil
}

// plot maps decades to places: x is the number of objects, y milliseconds.
type plot struct{ minX, maxX, minY, maxY float64 }

// frame has room for every result, in whole decades.
func frame(results []result) plot {
	p := plot{minX: math.Inf(1), minY: math.Inf(1), maxX: math.Inf(-1), maxY: math.Inf(-1)}
	for _, r := range results {
		x := math.Log10(float64(r.objects))
		p.minX, p.maxX = min(p.minX, math.Floor(x)), max(p.maxX, math.Ceil(x))
		for _, d := range []time.Duration{r.open, r.ready} {
			if d > 0 {
				y := math.Log10(milliseconds(d))
				p.minY, p.maxY = min(p.minY, math.Floor(y)), max(p.maxY, math.Ceil(y))
			}
		}
	}
	p.maxX, p.maxY = max(p.maxX, p.minX+1), max(p.maxY, p.minY+1)
	return p
}

func (p plot) x(log float64) float64 {
	return plotLeft + (log-p.minX)/(p.maxX-p.minX)*(plotWidth-plotLeft-plotRight)
}

func (p plot) y(log float64) float64 {
	return plotHeight - plotBottom - (log-p.minY)/(p.maxY-p.minY)*(plotHeight-plotTop-plotBottom)
}

func (p plot) grid(svg *strings.Builder) {
	for decade := p.minX; decade <= p.maxX; decade++ {
		fmt.Fprintf(svg, `<line x1="%.0f" y1="%.0f" x2="%.0f" y2="%.0f" stroke="#ddd"/><text x="%.0f" y="%d" text-anchor="middle">%.0f</text>`+"\n",
			p.x(decade), p.y(p.minY), p.x(decade), p.y(p.maxY), p.x(decade), plotHeight-plotBottom+18, math.Pow(10, decade))
	}
	for decade := p.minY; decade <= p.maxY; decade++ {
		fmt.Fprintf(svg, `<line x1="%.0f" y1="%.0f" x2="%.0f" y2="%.0f" stroke="#ddd"/><text x="%d" y="%.0f" text-anchor="end">%g ms</text>`+"\n",
			p.x(p.minX), p.y(decade), p.x(p.maxX), p.y(decade), plotLeft-8, p.y(decade)+4, math.Pow(10, decade))
	}
	fmt.Fprintf(svg, `<text x="%.0f" y="%d" text-anchor="middle">stored objects of 2 KB</text>`+"\n", p.x((p.minX+p.maxX)/2), plotHeight-12)
}

func (p plot) draw(svg *strings.Builder, c curve, results []result, place int) {
	var points []string
	for _, r := range results {
		if d := c.value(r); r.where == c.where && d > 0 {
			x, y := p.x(math.Log10(float64(r.objects))), p.y(math.Log10(milliseconds(d)))
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
			fmt.Fprintf(svg, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, c.color)
		}
	}
	if len(points) == 0 {
		return
	}
	y := plotTop + 20*(place+1)
	fmt.Fprintf(svg, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%d" y="%d" fill="%s">%s</text>`+"\n",
		strings.Join(points, " "), c.color, plotWidth-plotRight+15, y, c.color, c.name)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
