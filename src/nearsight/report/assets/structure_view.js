// Draws the structure of the page's data and colours its atoms. Data: see structure_view.py.
(function () {
  const box = document.getElementById('structure-view');
  const data = JSON.parse(document.getElementById('structure-data').textContent);
  const choice = document.getElementById('structure-colour');
  const slider = document.getElementById('structure-energy');
  const energyText = document.getElementById('structure-energy-text');
  const legend = document.getElementById('structure-legend');
  const info = document.getElementById('structure-info');
  const state = document.body.dataset;
  state.viewErrors = '';
  window.addEventListener('error', function (e) { state.viewErrors += e.message + '; '; });

  function sayInstead(text) {
    box.innerHTML = '';
    const p = document.createElement('p');
    p.className = 'note';
    p.textContent = text;
    box.appendChild(p);
    state.viewAtoms = '0';
  }

  let viewer;
  try {
    const probe = document.createElement('canvas');
    if (!(probe.getContext('webgl2') || probe.getContext('webgl'))) { throw new Error('no WebGL'); }
    viewer = $3Dmol.createViewer(box, {backgroundColor: '#ffffff', antialias: true});
    if (!viewer) { throw new Error('no WebGL'); }
  } catch (e) {
    sayInstead('This browser draws no 3D (WebGL is missing or switched off); all numbers of this page are there all the same.');
    return;
  }

  const model = viewer.addModel();
  const radius = {};
  model.addAtoms(data.symbols.map(function (symbol, i) {
    radius[symbol] = data.radii[symbol];
    return {elem: symbol === 'X' ? 'C' : symbol, resn: symbol, serial: i,
            x: data.positions[i][0], y: data.positions[i][1], z: data.positions[i][2], bonds: [], bondOrder: []};
  }));
  if (data.cell) {
    const c = data.cell;
    const corner = function (n) {
      const p = [0, 0, 0];
      for (let a = 0; a < 3; a++) { if (n >> a & 1) { for (let k = 0; k < 3; k++) { p[k] += c[a][k]; } } }
      return {x: p[0], y: p[1], z: p[2]};
    };
    for (let n = 0; n < 8; n++) {
      for (let a = 0; a < 3; a++) {
        if (!(n >> a & 1)) { viewer.addLine({start: corner(n), end: corner(n | 1 << a), color: '#8a94a3'}); }
      }
    }
  }

  function mix(stops, t) {
    const x = Math.max(0, Math.min(1, t)) * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(x)), f = x - k;
    const c = stops[k].map(function (v, i) { return Math.round(v + f * (stops[k + 1][i] - v)); });
    return 'rgb(' + c.join(',') + ')';
  }
  const scales = {
    sequential: [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]],
    diverging: [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]]
  };

  let values = null, colouring = null, range = [0, 1];
  function colourOf(i) {
    if (!colouring || colouring.kind === 'element') { return data.colours[data.symbols[i]]; }
    return mix(scales[colouring.kind], (values[i] - range[0]) / (range[1] - range[0]));
  }

  function number(x) { return Math.abs(x) >= 1000 || (x !== 0 && Math.abs(x) < 0.001) ? x.toExponential(2) : x.toPrecision(3); }

  function drawLegend() {
    legend.innerHTML = '';
    if (colouring.kind === 'element') {
      Object.keys(data.colours).forEach(function (symbol) {
        const item = document.createElement('span');
        item.innerHTML = '<i style="background:' + data.colours[symbol] + '"></i>' + symbol;
        legend.appendChild(item);
      });
      return;
    }
    const stops = scales[colouring.kind].map(function (c) { return 'rgb(' + c.join(',') + ')'; }).join(',');
    const item = document.createElement('span');
    item.className = 'scale';
    item.innerHTML = number(range[0]) + '<b style="background:linear-gradient(to right,' + stops + ')"></b>' +
      number(range[1]) + ' ' + colouring.unit;
    legend.appendChild(item);
  }

  function show() {
    colouring = data.colourings[choice.selectedIndex];
    const atEnergy = Boolean(colouring.energies);
    slider.parentElement.style.display = atEnergy ? '' : 'none';
    if (colouring.kind !== 'element') {
      values = colouring.values;
      if (atEnergy) {
        slider.max = colouring.energies.length - 1;
        values = colouring.values[+slider.value];
        energyText.textContent = colouring.energies[+slider.value].toFixed(2) + ' eV from the Fermi level';
      }
      let low = Math.min.apply(null, values), high = Math.max.apply(null, values);
      if (colouring.kind === 'diverging') { high = Math.max(Math.abs(low), Math.abs(high)); low = -high; }
      if (atEnergy) { low = 0; }
      range = [low, high > low ? high : low + 1];
    }
    document.getElementById('structure-caption').textContent = colouring.caption;
    data.kinds.forEach(function (symbol) {
      viewer.setStyle({resn: symbol}, {sphere: {
        radius: radius[symbol], opacity: symbol === 'X' ? 0.5 : 1, colorfunc: function (atom) { return colourOf(atom.serial); }}});
    });
    drawLegend();
    viewer.render();
    state.viewColour = colourOf(0);
    state.viewColouring = colouring.name;
  }

  function describe(atom) {
    const i = atom.serial, p = data.positions[i];
    let text = data.symbols[i] + ' ' + i + ' at ' + p.map(function (x) { return x.toFixed(2); }).join(', ') + ' Å';
    if (colouring.kind !== 'element') { text += ': ' + number(values[i]) + ' ' + colouring.unit; }
    info.textContent = text;
  }
  viewer.setHoverable({}, true, describe, function () {});
  viewer.setClickable({}, true, describe);

  data.colourings.forEach(function (c) {
    const option = document.createElement('option');
    option.textContent = c.name;
    choice.appendChild(option);
  });
  const wanted = decodeURIComponent((location.hash.match(/colour=([^&]*)/) || [])[1] || '');
  data.colourings.forEach(function (c, n) { if (c.name === wanted) { choice.selectedIndex = n; } });
  choice.addEventListener('change', show);
  slider.addEventListener('input', show);
  viewer.zoomTo();
  viewer.zoom(1.2);
  viewer.rotate(20, 'y');
  viewer.rotate(12, 'x');
  show();
  state.viewAtoms = String(model.selectedAtoms({}).length);
})();
